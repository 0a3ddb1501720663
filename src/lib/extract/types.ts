// What extraction gives, whatever the format: pages of blocks in reading order, and the reasons why there is nothing.

export type BlockKind = "heading" | "text" | "table" | "code";

/** A piece of the document that stands together. Lines end with \n, cells of a table row are parted by \t. */
export interface Block {
  kind: BlockKind;
  text: string;
  /** Headings: 1 (widest) to 6. */
  level?: number;
  /** One of several that stand closely below each other: list items. */
  isItem?: boolean;
  /** Line of the source where it begins, from 1; for formats without pages. */
  line?: number;
}

export interface Page {
  blocks: Block[];
}

export interface Extracted {
  title: string | null;
  /** True where page numbers mean something; else there is one page. */
  paged: boolean;
  pages: Page[];
}

export type FailureCode =
  | "corrupted_file"
  | "empty_file"
  | "encrypted"
  | "no_text"
  | "unsupported_format"
  | "too_many_pages"
  | "text_too_long"
  | "fetch_failed"
  | "timeout";

/** Why a document has no text; `message` is for its owner. */
export class ExtractFailure extends Error {
  readonly code: FailureCode;
  constructor(code: FailureCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "ExtractFailure";
    this.code = code;
  }
}

export interface ExtractLimits {
  pagesMax: number;
  charactersMax: number;
  /** Moment (as `performance.now()` of the thread) after which nothing new is begun. */
  deadlineMs: number;
}

/** What extractors may use besides the bytes. */
export interface ExtractTools {
  limits: ExtractLimits;
  /** Bytes of pdfium's WebAssembly. */
  pdfium: () => Promise<ArrayBuffer>;
}

/** Throws `timeout` when the time is up. Called between pieces of work. */
export function checkTime(limits: ExtractLimits): void {
  if (performance.now() > limits.deadlineMs) {
    throw new ExtractFailure("timeout", "Reading the document took too long.");
  }
}
