// What the default bot knows about the product itself: short documents that lie in the program.

import adding from "./adding-documents.md" with { type: "text" };
import api from "./api-and-sockets.md" with { type: "text" };
import asking from "./asking-and-citations.md" with { type: "text" };
import configuration from "./configuration-and-scaling.md" with { type: "text" };
import users from "./users-and-roles.md" with { type: "text" };
import what from "./what-botserver-is.md" with { type: "text" };

export interface AboutText {
  /** Stays the same when the text changes. */
  id: string;
  title: string;
  text: string;
}

const ABOUT: Readonly<Record<string, string>> = {
  "what-botserver-is": what,
  "adding-documents": adding,
  "asking-and-citations": asking,
  "users-and-roles": users,
  "configuration-and-scaling": configuration,
  "api-and-sockets": api,
};

/** The documents; the title is the first heading. */
export const ABOUT_TEXTS: readonly AboutText[] = Object.entries(ABOUT).map(([id, text]) => ({
  id,
  title: /^# (.+)$/m.exec(text)?.[1] ?? id,
  text,
}));
