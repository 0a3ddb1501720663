// The catalogue of audit event types and their categories: code, so that an unknown type does not compile.

export const AUDIT_EVENTS = {
  // sign-in and accounts (contract auth-and-users.md, "Recorded")
  login_success: "authentication",
  login_failed: "authentication",
  logout: "authentication",
  account_locked: "authentication",
  session_terminated: "authentication",
  suspicious_activity: "security",
  user_created: "users",
  user_updated: "users",
  user_suspended: "users",
  user_activated: "users",
  user_deleted: "users",
  password_changed: "users",
  password_reset_requested: "users",
  mfa_enabled: "users",
  mfa_disabled: "users",
  backup_code_used: "users",
  api_key_created: "users",
  api_key_updated: "users",
  api_key_revoked: "users",
  identity_linked: "users",
  settings_changed: "users",
  admin_bootstrapped: "users",
  // permissions
  permission_denied: "access",
  role_changed: "access",
  permissions_changed: "access",
  data_access: "access",
  // bots
  bot_created: "bots",
  bot_updated: "bots",
  bot_config_changed: "bots",
  bot_deleted: "bots",
  bot_restored: "bots",
  // knowledge
  kb_collection_created: "knowledge",
  kb_collection_updated: "knowledge",
  kb_collection_deleted: "knowledge",
  kb_document_added: "knowledge",
  kb_document_updated: "knowledge",
  kb_document_deleted: "knowledge",
  kb_permissions_changed: "knowledge",
  kb_reindex_started: "knowledge",
  // caches (contract admin.md, "Recorded")
  cache_cleared: "admin",
  // conversations
  conversation_started: "conversations",
  conversation_updated: "conversations",
  conversation_closed: "conversations",
  conversation_reopened: "conversations",
  conversation_claimed: "conversations",
  conversation_deleted: "conversations",
  conversation_exported: "conversations",
  message_deleted: "conversations",
  memory_changed: "conversations",
} as const;

export type AuditEventType = keyof typeof AUDIT_EVENTS;
