// A whole conversation as a file, streamed page by page.

import { and, asc, eq, gt } from "drizzle-orm";
import type { Context } from "../../../core/context.ts";
import { messages, type ConversationRow, type MessageRow } from "../model.ts";
import { presentConversation, presentMessage } from "../present.ts";
import type { Access } from "./access.ts";
import type { ConversationsDeps } from "./deps.ts";

const PAGE = 500;

export type ExportFormat = "json" | "markdown" | "text";

export interface ExportedFile {
  name: string;
  mime: string;
  body: ReadableStream<Uint8Array>;
}

export type Exports = ReturnType<typeof exportService>;

const FILES: Record<ExportFormat, { suffix: string; mime: string }> = {
  json: { suffix: "json", mime: "application/json; charset=utf-8" },
  markdown: { suffix: "md", mime: "text/markdown; charset=utf-8" },
  text: { suffix: "txt", mime: "text/plain; charset=utf-8" },
};

const NAMES: Record<MessageRow["sender"], string> = {
  user: "User",
  bot: "Bot",
  attendant: "Attendant",
  system: "System",
  tool: "Tool",
};

function head(row: ConversationRow, format: ExportFormat): string {
  if (format === "json") return `{"conversation":${JSON.stringify(presentConversation(row))},"messages":[`;
  const title = (row.title ?? "Conversation").replace(/\s+/g, " ");
  const about = `${row.botName}, ${row.startedAt.toISOString()}, ${row.messageCount} messages`;
  return format === "markdown"
    ? `# ${title.replace(/([\\`*_{}[\]<>#])/g, "\\$1")}\n\n${about}\n`
    : `${title}\n${about}\n`;
}

function line(message: MessageRow, format: ExportFormat, isFirst: boolean): string {
  if (format === "json") return `${isFirst ? "" : ","}\n${JSON.stringify(presentMessage(message))}`;
  const who = message.senderName ?? NAMES[message.sender];
  const at = message.createdAt.toISOString();
  const content = message.deletedAt ? "(deleted)" : message.content;
  const files = message.attachments.map(({ name }) => name);
  if (format === "text") {
    return `\n[${at}] ${who}: ${content}${files.length > 0 ? `\n  Files: ${files.join(", ")}` : ""}\n`;
  }
  const body = message.contentType === "text/markdown" ? content : content.replace(/([\\`*_<>#])/g, "\\$1");
  return `\n## ${who}, ${at}\n\n${body}\n${files.map((name) => `\n- ${name}`).join("")}`;
}

/** Makes the verb. */
export function exportService(deps: Pick<ConversationsDeps, "engine" | "audit"> & { access: Access }) {
  const { engine, audit, access } = deps;

  async function* pages(row: ConversationRow, format: ExportFormat): AsyncGenerator<string> {
    yield head(row, format);
    let after = 0;
    let isFirst = true;
    for (;;) {
      const rows = await engine.db
        .select()
        .from(messages)
        .where(and(eq(messages.conversationId, row.id), gt(messages.seq, after)))
        .orderBy(asc(messages.seq))
        .limit(PAGE);
      let text = "";
      for (const message of rows) {
        text += line(message, format, isFirst);
        isFirst = false;
        after = message.seq;
      }
      if (text !== "") yield text;
      if (rows.length < PAGE) break;
    }
    if (format === "json") yield "\n]}\n";
  }

  return {
    /** The file; audited. A reader who goes away ends the reading of the database too. */
    file: async (ctx: Context, id: string, format: ExportFormat): Promise<ExportedFile> => {
      const { row } = await access.ownerOrAdmin(ctx, id, "chat:read");
      await audit.record(engine.db, ctx, {
        type: "conversation_exported",
        resource: { type: "conversation", id: row.id },
        details: { format, owner_id: row.userId },
      });
      const encoder = new TextEncoder();
      const source = pages(row, format);
      const body = new ReadableStream<Uint8Array>({
        pull: async (controller) => {
          const { value, done } = await source.next();
          if (done) controller.close();
          else controller.enqueue(encoder.encode(value));
        },
        cancel: async () => {
          await source.return(undefined);
        },
      });
      const { suffix, mime } = FILES[format];
      return { name: `conversation-${row.id}.${suffix}`, mime, body };
    },
  };
}
