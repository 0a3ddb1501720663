// Words that say nothing by themselves, by language, and what they tell of a text's language.

import { dan, deu, eng, fin, fra, hun, ita, nld, nob, por, ron, rus, spa, swe, tur } from "stopword";
import { fold } from "./fold.ts";
import { LANGUAGES, type Language } from "./languages.ts";

/** Question words and auxiliaries that the lists lack; questions are made of them. */
const MORE: Readonly<Partial<Record<Language, string>>> = {
  en: "when why whose whom does doing done will shall may so me us its it's mine yours theirs were am again against there's let please tell give show want need know",
  pt: "é são foi foram ser estar está estão estou era eram tem têm tenho temos tinha ter há haver posso pode podem podemos poder devo deve devem onde quanto quanta quantos quantas quê porque porquê cada todo toda todos todas outro outra outros outras pelo pela nesse nessa neste nesta nisso nisto naquele naquela dum duma ao aonde me fazer faço faz fica ficam vou vai vão há diga mostre quero preciso sobre",
  es: "es son fue fueron ser estar está están estoy era eran tiene tienen tengo tenemos tener hay haber puedo puede pueden podemos debo debe deben qué quién cuál cuáles cuándo dónde cómo cuánto cuánta cuántos cuántas yo usted ustedes nosotros ella ellos ellas esta este estos estas esa esos esas todo toda todos todas otra otros otras hacer hago hace",
  fr: "quand où comment combien pourquoi quel quelle quels quelles quoi dont puis-je peut peux peuvent pouvons puis dois doit doivent faire fait cette cet celui celle ceux celles tout toute tous toutes autre autres si non oui plus",
  no: "av to tre fire fem seks sju åtte ni ti første andre får fått gå går gikk bare nå frem fram hos uten etter eller enn ennå gjør gjorde sier sa når hva hvor hvorfor hvem mye flere alltid aldri igjen",
  it: "quando dove come perché quale quali chi che cosa posso può possono deve devo devono fare",
};

const LISTS: Readonly<Record<Language, readonly string[]>> = {
  da: dan,
  de: deu,
  en: eng,
  es: spa,
  fi: fin,
  fr: fra,
  hu: hun,
  it: ita,
  nl: nld,
  no: nob,
  pt: por,
  ro: ron,
  ru: rus,
  sv: swe,
  tr: tur,
};

/** Folded word → bit per language, in the order of LANGUAGES. */
const marks = new Map<string, number>();
for (const [bit, language] of LANGUAGES.entries()) {
  for (const word of [...LISTS[language], ...(MORE[language]?.split(" ") ?? [])]) {
    const folded = fold(word.trim());
    if (folded !== "") marks.set(folded, (marks.get(folded) ?? 0) | (1 << bit));
  }
}

const BITS = new Map<Language, number>(LANGUAGES.map((language, bit) => [language, 1 << bit]));

/** True if the folded word is a stop word of that language; without a language, of English or Portuguese. */
export function isStopWord(folded: string, language: Language | null): boolean {
  const mark = marks.get(folded) ?? 0;
  if (mark === 0) return false;
  if (language === null) return (mark & ((BITS.get("en") ?? 0) | (BITS.get("pt") ?? 0))) !== 0;
  return (mark & (BITS.get(language) ?? 0)) !== 0;
}

/** How many of the folded words are stop words, by language; languages without one are left out. */
export function stopWordHits(folded: Iterable<string>): Map<Language, number> {
  const hits = new Map<Language, number>();
  for (const word of folded) {
    let mark = marks.get(word) ?? 0;
    for (let bit = 0; mark !== 0; bit++, mark >>>= 1) {
      const language = LANGUAGES[bit];
      if (mark & 1 && language) hits.set(language, (hits.get(language) ?? 0) + 1);
    }
  }
  return hits;
}
