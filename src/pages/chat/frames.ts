// What each frame of the socket means for the conversation on the page.
import { ApiFault } from "../parts/api.ts";
import { asNumber, asObject, asText } from "../parts/wire.ts";
import type { Json } from "../parts/wire.ts";
import { readMessage, readSuggestions, readSwitchers } from "./protocol.ts";
import type { Message } from "./protocol.ts";
import type { Store } from "./store.ts";

interface Hooks {
  /** The socket has joined a conversation. */
  connected: (frame: Json) => void;
  /** Messages are missing: read them. */
  catchUp: () => void;
  restarting: (ms: number) => void;
}

/** After a break the delta with all that is written so far comes at once; what is not named within this has ended. */
const STALE_MS = 1500;
/** The longest that an answer takes (contract: 120 s). */
const FRESH_MS = 120_000;

/** Makes the reader of frames. */
export function frameReader(store: Store, hooks: Hooks): (frame: Json) => void {
  const { state } = store;
  const ours = (frame: Json): boolean => {
    const about = asText(frame["session_id"]) ?? asText(frame["conversation_id"]);
    return about === null || about === state.sessionId;
  };

  const onStatus = (frame: Json) => {
    switch (asText(frame["state"])) {
      case "connected":
        hooks.connected(frame);
        return;
      case "resumed": {
        state.ready = true;
        if (frame["truncated"] === true) hooks.catchUp();
        const mine = store.generation();
        setTimeout(() => {
          if (mine === store.generation()) store.dropStale();
        }, STALE_MS);
        break;
      }
      case "handler": {
        if (!ours(frame)) return;
        const { attendant } = frame;
        state.handler = frame["handler"] === "human" ? "human" : "bot";
        state.queuePosition = asNumber(frame["queue_position"]);
        state.attendant = asText(attendant) ?? asText(asObject(attendant)["name"]);
        if (state.handler === "human") store.awaited.clear();
        break;
      }
      case "closed":
        if (!ours(frame)) return;
        state.closed = true;
        state.typing = null;
        store.awaited.clear();
        break;
      case "reopened":
        if (ours(frame)) state.closed = false;
        break;
      case "degraded":
        state.degraded = true;
        break;
      case "restored":
        state.degraded = false;
        break;
      case "restarting":
        hooks.restarting(asNumber(frame["retry_after_ms"]) ?? 1000);
        break;
      case "theme": {
        if (!state.bot) return;
        const themeName = asText(frame["theme"]) ?? asText(asObject(frame["theme"])["name"]);
        state.bot = { ...state.bot, themed: true, themeName };
        store.emit({ kind: "bot", themeChanged: true });
        break;
      }
      default:
        break;
    }
    store.status();
  };

  const onMessage = (frame: Json) => {
    const message = readMessage(frame);
    if (!message) return;
    const known = state.messages.has(message.id);
    const last = store.lastSeq();
    if (message.seq !== null && last > 0 && message.seq > last + 1 && state.ready) hooks.catchUp();
    // What is replayed when the page opens has been said before: it is not announced, and only a question of just
    // now still waits for its answer.
    const said = store.saidBefore(message.seq);
    const fresh = Date.now() - Date.parse(message.timestamp ?? "") < FRESH_MS;
    store.redraw(...store.put(message, !said || fresh));
    if (!known && !said) store.emit({ kind: "arrived", message });
    store.status();
  };

  const onUpdate = (frame: Json) => {
    const id = asText(frame["message_id"]);
    if (id === null) return;
    const fields: Partial<Message> = {};
    const next = asText(frame["status"]);
    if (next === "processing") store.awaited.set(id, { told: true, since: Date.now() });
    else if (next !== null) store.awaited.delete(id);
    if (next !== null) fields.status = next;
    const content = asText(frame["content"]);
    if (content !== null) fields.content = content;
    if (asText(frame["deleted_at"]) !== null) {
      fields.deleted = true;
      fields.content = "";
    }
    const { feedback } = frame;
    if (feedback !== undefined) fields.feedback = feedback === "up" || feedback === "down" ? feedback : null;
    if (frame["superseded_by"] !== undefined) fields.supersededBy = asText(frame["superseded_by"]);
    store.change(id, fields);
    store.status();
  };

  const onError = (frame: Json) => {
    const code = asText(frame["code"]) ?? "SERVER_ERROR";
    const fault = new ApiFault(1, code, asText(frame["message"]) ?? "", asObject(frame["details"]));
    const sent = state.outbox.get(asText(frame["client_id"]) ?? "");
    if (!sent) {
      state.typing = null;
      store.emit({ kind: "fault", fault });
      store.status();
      return;
    }
    sent.fault = fault;
    store.saveOutbox();
    if (fault.reason === "conversation_closed") state.closed = true;
    store.redraw(`c:${sent.clientId}`);
    store.status();
  };

  return (frame) => {
    switch (asText(frame["type"])) {
      case "status":
        onStatus(frame);
        return;
      case "message":
        if (ours(frame)) onMessage(frame);
        return;
      case "delta": {
        const id = asText(frame["message_id"]);
        if (id === null || !ours(frame)) return;
        store.grow(id, asNumber(frame["index"]) ?? 0, asText(frame["content"]) ?? "", frame["reset"] === true);
        return;
      }
      case "ack": {
        const clientId = asText(frame["client_id"]);
        const id = asText(frame["message_id"]);
        if (clientId === null || id === null) return;
        store.confirm(clientId, id, asNumber(frame["seq"]), asText(frame["timestamp"]), frame["duplicate"] === true);
        return;
      }
      case "message_update":
        if (ours(frame)) onUpdate(frame);
        return;
      case "typing": {
        const sender = asText(frame["sender"]);
        if (!ours(frame) || (sender !== "bot" && sender !== "attendant")) return;
        state.typing = frame["state"] === "stop" ? null : sender;
        store.status();
        return;
      }
      case "suggestion":
        if (!ours(frame)) return;
        state.suggestions = readSuggestions(frame["suggestions"]);
        if (Array.isArray(frame["switchers"])) state.switchers = readSwitchers(frame["switchers"]);
        store.emit({ kind: "suggestions" });
        return;
      case "tool":
        if (!ours(frame)) return;
        state.activity = frame["state"] === "started" ? (asText(frame["label"]) ?? asText(frame["name"])) : null;
        store.status();
        return;
      case "error":
        onError(frame);
        return;
      default:
        // Frames of other areas: not this page's business.
        return;
    }
  };
}
