// Natural-language text: folding, words and terms for search, stems, stop words, languages, sentences, token counts.

export { fold, foldPhrase } from "./fold.ts";
export { LANGUAGES, isLanguage, type Language } from "./languages.ts";
export { detectLanguage, languageOfWords } from "./language.ts";
export { isStopWord } from "./stopwords.ts";
export { stem } from "./stems.ts";
export { words, type Word } from "./words.ts";
export { countTerms, decodeTerms, encodeTerms, queryWords, termsOf, type QueryWord, type TermCounts } from "./terms.ts";
export { splitSentences, type Span } from "./sentences.ts";
export { countTokens } from "./tokens.ts";
