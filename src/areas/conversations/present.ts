// Rows as they leave the server: conversations, messages and socket frames.

import type { AttachmentRow, ConversationRow, MessageRow } from "./model.ts";
import type { ChatBot, MessageAttachment, StoredMessage, TurnConversation } from "./responder.ts";

/** A file as clients see it. */
export function presentAttachment(conversationId: string, file: MessageAttachment) {
  return {
    id: file.id,
    name: file.name,
    mime: file.mime,
    size: file.size,
    url: `/api/v1/conversations/${conversationId}/attachments/${file.id}`,
  };
}

/** A stored file as messages keep it. */
export function attachmentOf(row: AttachmentRow): MessageAttachment {
  return { id: row.id, name: row.name, mime: row.mime, size: row.sizeBytes };
}

export type PresentedConversation = ReturnType<typeof presentConversation>;

export function presentConversation(row: ConversationRow) {
  return {
    id: row.id,
    conversation_id: row.id,
    session_id: row.id,
    bot_id: row.botId,
    bot_name: row.botName,
    user_id: row.userId,
    channel: row.channel,
    title: row.title,
    status: row.status,
    closed_reason: row.closedReason,
    handler: row.handler,
    resolution: row.resolution,
    resolved_by: row.resolvedBy,
    rating: row.rating,
    rating_comment: row.ratingComment,
    rated_at: row.ratedAt?.toISOString() ?? null,
    last_seq: row.lastSeq,
    last_message: row.lastMessage,
    last_activity: row.lastActivity.toISOString(),
    message_count: row.messageCount,
    unread_count: row.unreadCount,
    started_at: row.startedAt.toISOString(),
    closed_at: row.closedAt?.toISOString() ?? null,
    expires_at: row.expiresAt?.toISOString() ?? null,
    language: row.language,
    pinned: row.pinned,
    tags: row.tags,
    metadata: row.metadata,
    version: row.version,
  };
}

/** The parts of a message that its presentation reads; a new one has them before it is a row. */
export type PresentableMessage = Omit<MessageRow, "dedupeKey" | "turnId" | "changedSeq" | "changedAt">;

export type PresentedMessage = ReturnType<typeof presentMessage>;

export function presentMessage(row: PresentableMessage) {
  return {
    id: row.id,
    message_id: row.id,
    conversation_id: row.conversationId,
    session_id: row.conversationId,
    seq: row.seq,
    sender: row.sender,
    sender_id: row.senderId,
    sender_name: row.senderName,
    type: row.type,
    content: row.content,
    content_type: row.contentType,
    attachments: row.attachments.map((file) => presentAttachment(row.conversationId, file)),
    suggestions: row.suggestions,
    citations: row.citations,
    reply_to: row.replyTo,
    client_id: row.clientId,
    status: row.status,
    feedback: row.feedback,
    feedback_comment: row.feedbackComment,
    usage: row.usage,
    metadata: row.metadata,
    is_complete: row.isComplete,
    finish_reason: row.finishReason,
    superseded_by: row.supersededBy,
    timestamp: row.createdAt.toISOString(),
    edited_at: row.editedAt?.toISOString() ?? null,
    deleted_at: row.deletedAt?.toISOString() ?? null,
  };
}

/**
 * The frame of a message. A frame's `type` is taken, so the message's own stands in `message_type`. Fields that say
 * nothing (null, empty lists, no metadata) are left out: in a room every byte is sent hundreds of times.
 */
export function messageFrame(row: PresentableMessage): string {
  const { conversationId, attachments, suggestions, citations } = row;
  const frame: Record<string, unknown> = {
    type: "message",
    message_type: row.type,
    id: row.id,
    message_id: row.id,
    conversation_id: conversationId,
    session_id: conversationId,
    seq: row.seq,
    sender: row.sender,
    content: row.content,
    content_type: row.contentType,
    status: row.status,
    is_complete: row.isComplete,
    timestamp: row.createdAt,
  };
  if (row.senderId !== null) frame["sender_id"] = row.senderId;
  if (row.senderName !== null) frame["sender_name"] = row.senderName;
  if (row.clientId !== null) frame["client_id"] = row.clientId;
  if (row.replyTo !== null) frame["reply_to"] = row.replyTo;
  if (attachments.length > 0) frame["attachments"] = attachments.map((file) => presentAttachment(conversationId, file));
  if (suggestions.length > 0) frame["suggestions"] = suggestions;
  if (citations.length > 0) frame["citations"] = citations;
  if (row.feedback !== null) frame["feedback"] = row.feedback;
  if (row.feedbackComment !== null) frame["feedback_comment"] = row.feedbackComment;
  if (row.usage !== null) frame["usage"] = row.usage;
  if (Object.keys(row.metadata).length > 0) frame["metadata"] = row.metadata;
  if (row.finishReason !== null) frame["finish_reason"] = row.finishReason;
  if (row.supersededBy !== null) frame["superseded_by"] = row.supersededBy;
  if (row.editedAt !== null) frame["edited_at"] = row.editedAt;
  if (row.deletedAt !== null) frame["deleted_at"] = row.deletedAt;
  return JSON.stringify(frame);
}

/** The frame that tells what of a stored message has changed. */
export function updateFrame(conversationId: string, messageId: string, changes: Record<string, unknown>): string {
  return JSON.stringify({
    type: "message_update",
    session_id: conversationId,
    conversation_id: conversationId,
    message_id: messageId,
    ...changes,
  });
}

/** All of a message that may change, for clients that may have missed it. */
export function changesOf(row: MessageRow): Record<string, unknown> {
  return {
    status: row.status,
    deleted_at: row.deletedAt?.toISOString() ?? null,
    feedback: row.feedback,
    superseded_by: row.supersededBy,
    ...(row.deletedAt ? { content: "", attachments: [] } : {}),
  };
}

/** A message as the responder and other areas see it. */
export function storedMessage(row: PresentableMessage): StoredMessage {
  return {
    id: row.id,
    conversationId: row.conversationId,
    seq: row.seq,
    sender: row.sender,
    senderId: row.senderId,
    senderName: row.senderName,
    type: row.type,
    content: row.content,
    contentType: row.contentType,
    attachments: row.attachments,
    suggestions: row.suggestions,
    citations: row.citations,
    replyTo: row.replyTo,
    metadata: row.metadata,
    isComplete: row.isComplete,
    finishReason: row.finishReason,
    createdAt: row.createdAt,
  };
}

/** The columns that listening to a conversation needs. */
export type HeardConversation = Pick<
  ConversationRow,
  | "id"
  | "botId"
  | "botName"
  | "userId"
  | "channel"
  | "title"
  | "handler"
  | "language"
  | "startedAt"
  | "metadata"
  | "lastSeq"
>;

/** A conversation as turns and other areas see it. */
export function turnConversation(row: Omit<HeardConversation, "lastSeq">): TurnConversation {
  return {
    id: row.id,
    botId: row.botId,
    botName: row.botName,
    userId: row.userId,
    channel: row.channel,
    title: row.title,
    handler: row.handler,
    language: row.language,
    startedAt: row.startedAt,
    metadata: row.metadata,
  };
}

/** The bot as the person who talks to it sees it. */
export function presentBot(bot: ChatBot) {
  return { id: bot.id, name: bot.name, title: bot.title, theme: bot.theme };
}
