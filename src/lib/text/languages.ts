// The languages whose words are stemmed and whose stop words are known. ISO 639-1 codes.

export const LANGUAGES = [
  "da",
  "de",
  "en",
  "es",
  "fi",
  "fr",
  "hu",
  "it",
  "nl",
  "no",
  "pt",
  "ro",
  "ru",
  "sv",
  "tr",
] as const;

export type Language = (typeof LANGUAGES)[number];

const KNOWN: ReadonlySet<string> = new Set(LANGUAGES);

/** True for a language whose words are stemmed. */
export function isLanguage(code: string | null): code is Language {
  return code !== null && KNOWN.has(code);
}
