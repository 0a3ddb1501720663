// What this area keeps about a person, and how it is found, handed out and erased.

import { asc, eq, sql } from "drizzle-orm";
import type { PersonData } from "../../core/people/index.ts";
import { attachments, conversationOutcomes, conversations, messages } from "./model.ts";
import { attachmentOf, presentAttachment, presentConversation, presentMessage } from "./present.ts";
import type { Conversations } from "./service/conversations.ts";

/** The area's entry in the register of data about people. */
export function conversationPeople(service: Pick<Conversations, "eraseOfUser">): PersonData {
  return {
    area: "conversations",
    tables: ["conversations", "messages", "turns", "attachments", "chat_tokens", "conversation_outcomes"],
    export: async (db, userId) => {
      const rows = await db
        .select()
        .from(conversations)
        .where(eq(conversations.userId, userId))
        .orderBy(asc(conversations.startedAt));
      const all = [];
      for (const row of rows) {
        const said = await db
          .select()
          .from(messages)
          .where(eq(messages.conversationId, row.id))
          .orderBy(asc(messages.seq));
        const files = await db.select().from(attachments).where(eq(attachments.conversationId, row.id));
        all.push({
          ...presentConversation(row),
          messages: said.map(presentMessage),
          attachments: files.map((file) => presentAttachment(row.id, attachmentOf(file))),
        });
      }
      const attended = await db
        .select()
        .from(messages)
        .where(sql`${messages.senderId} = ${userId} and ${messages.sender} = 'attendant'`)
        .orderBy(asc(messages.createdAt));
      return { conversations: all, answered_as_attendant: attended.map(presentMessage) };
    },
    erase: async (tx, userId) => {
      await service.eraseOfUser(tx, userId);
      await tx.update(conversationOutcomes).set({ userId: null }).where(eq(conversationOutcomes.userId, userId));
      // What was said to others stays with them, without the name.
      await tx.update(messages).set({ senderId: null, senderName: null }).where(eq(messages.senderId, userId));
    },
  };
}
