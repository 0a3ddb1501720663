// Documents to text: what is recognised, what comes out, why nothing does. The parsers are in extractors.ts, which a
// Worker imports.

export { ExtractFailure, type FailureCode, type ExtractLimits } from "./types.ts";
export { HEAD_BYTES, recognise, type Format, type Recognised, type SizeClass } from "./recognise.ts";
export type { BlockSpan, NormalisedText } from "./normalise.ts";
