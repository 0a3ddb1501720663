// Folding: texts that differ only in case, accents or width become equal.

/** Letters that do not decompose into a base letter and a mark. */
const LETTERS: Readonly<Record<string, string>> = {
  ß: "ss",
  æ: "ae",
  œ: "oe",
  ø: "o",
  đ: "d",
  ð: "d",
  ħ: "h",
  ı: "i",
  ł: "l",
  þ: "th",
};
const LETTER = /[ßæœøđðħıłþ]/g;
/** Latin, Greek and Cyrillic accents, Hebrew points, Arabic vowel marks; the vowel signs of Indic scripts stay. */
const MARK = /[\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0670]/g;
// oxlint-disable-next-line no-control-regex -- the range is what "ASCII" means
const ASCII = /^[\x00-\x7f]*$/;

/** `text` in lower case without accents, compatibility forms written out (NFKD), the rest composed. */
export function fold(text: string): string {
  const lower = text.toLowerCase();
  if (ASCII.test(lower)) return lower;
  return lower
    .normalize("NFKD")
    .replace(MARK, "")
    .normalize("NFC")
    .toLowerCase()
    .replace(LETTER, (letter) => LETTERS[letter] ?? letter);
}

/** `text` folded and with every run of blanks as one space: what "occurs literally" compares. */
export function foldPhrase(text: string): string {
  return fold(text).replace(/\s+/g, " ").trim();
}
