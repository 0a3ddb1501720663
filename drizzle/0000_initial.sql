CREATE TABLE "audit_log" (
	"id" uuid PRIMARY KEY NOT NULL,
	"seq" bigint,
	"at" timestamp with time zone NOT NULL,
	"event_type" text NOT NULL,
	"action" text NOT NULL,
	"category" text NOT NULL,
	"user_id" uuid,
	"actor_kind" text NOT NULL,
	"context" text NOT NULL,
	"key_id" uuid,
	"session_id" uuid,
	"organization_id" uuid,
	"resource_type" text,
	"resource_id" text,
	"result" text NOT NULL,
	"request_id" text,
	"method" text,
	"route" text,
	"details" jsonb NOT NULL,
	"changed_fields" jsonb NOT NULL,
	"personal_digest" text NOT NULL,
	"prev_hash" text,
	"hash" text,
	CONSTRAINT "audit_log_seq_unique" UNIQUE("seq")
);
--> statement-breakpoint
CREATE TABLE "audit_personal" (
	"audit_id" uuid PRIMARY KEY NOT NULL,
	"salt" text NOT NULL,
	"user_id" uuid,
	"actor_label" text,
	"ip_address" text,
	"user_agent" text,
	"resource_label" text,
	"identifier" text,
	"changes" jsonb,
	"note" text
);
--> statement-breakpoint
CREATE TABLE "events" (
	"id" uuid PRIMARY KEY NOT NULL,
	"type" text NOT NULL,
	"created_at" timestamp with time zone NOT NULL,
	"subject_area" text NOT NULL,
	"subject_id" text NOT NULL,
	"actor_kind" text NOT NULL,
	"actor_id" uuid,
	"owner_id" uuid,
	"data" jsonb NOT NULL
);
--> statement-breakpoint
CREATE TABLE "idempotency_keys" (
	"subject" text NOT NULL,
	"route" text NOT NULL,
	"key" text NOT NULL,
	"body_digest" text NOT NULL,
	"status" integer,
	"answer" text,
	"created_at" timestamp with time zone NOT NULL,
	CONSTRAINT "idempotency_keys_subject_route_key_pk" PRIMARY KEY("subject","route","key")
);
--> statement-breakpoint
CREATE TABLE "group_members" (
	"id" uuid PRIMARY KEY NOT NULL,
	"group_id" uuid NOT NULL,
	"user_id" uuid NOT NULL,
	"role_id" text DEFAULT 'member' NOT NULL,
	"permissions" jsonb DEFAULT '[]'::jsonb NOT NULL,
	"status" text DEFAULT 'active' NOT NULL,
	"added_by" uuid,
	"joined_at" timestamp with time zone NOT NULL,
	CONSTRAINT "group_members_once" UNIQUE("group_id","user_id")
);
--> statement-breakpoint
CREATE TABLE "group_permissions" (
	"group_id" uuid NOT NULL,
	"permission" text NOT NULL,
	CONSTRAINT "group_permissions_group_id_permission_pk" PRIMARY KEY("group_id","permission")
);
--> statement-breakpoint
CREATE TABLE "group_roles" (
	"group_id" uuid NOT NULL,
	"role_id" text NOT NULL,
	CONSTRAINT "group_roles_group_id_role_id_pk" PRIMARY KEY("group_id","role_id")
);
--> statement-breakpoint
CREATE TABLE "groups" (
	"id" uuid PRIMARY KEY NOT NULL,
	"name" text NOT NULL,
	"name_key" text NOT NULL,
	"description" text DEFAULT '' NOT NULL,
	"type" text DEFAULT 'team' NOT NULL,
	"visibility" text DEFAULT 'private' NOT NULL,
	"domain" text,
	"domain_verified" boolean DEFAULT false NOT NULL,
	"parent_id" uuid,
	"organization_id" uuid,
	"inherit_permissions" boolean DEFAULT true NOT NULL,
	"inherit_members" boolean DEFAULT false NOT NULL,
	"settings" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"slug" text,
	"organization" jsonb,
	"builtin" boolean DEFAULT false NOT NULL,
	"created_by" uuid,
	"version" integer DEFAULT 1 NOT NULL,
	"created_at" timestamp with time zone NOT NULL,
	"updated_at" timestamp with time zone NOT NULL,
	CONSTRAINT "groups_slug_unique" UNIQUE("slug"),
	CONSTRAINT "groups_sibling_name" UNIQUE NULLS NOT DISTINCT("organization_id","parent_id","name_key")
);
--> statement-breakpoint
CREATE TABLE "role_parents" (
	"role_id" text NOT NULL,
	"parent_id" text NOT NULL,
	CONSTRAINT "role_parents_role_id_parent_id_pk" PRIMARY KEY("role_id","parent_id")
);
--> statement-breakpoint
CREATE TABLE "role_permissions" (
	"role_id" text NOT NULL,
	"permission" text NOT NULL,
	CONSTRAINT "role_permissions_role_id_permission_pk" PRIMARY KEY("role_id","permission")
);
--> statement-breakpoint
CREATE TABLE "roles" (
	"id" text PRIMARY KEY NOT NULL,
	"name" text NOT NULL,
	"description" text DEFAULT '' NOT NULL,
	"level" integer DEFAULT 50 NOT NULL,
	"builtin" boolean DEFAULT false NOT NULL,
	"version" integer DEFAULT 1 NOT NULL,
	"created_at" timestamp with time zone NOT NULL,
	"updated_at" timestamp with time zone NOT NULL
);
--> statement-breakpoint
CREATE TABLE "user_roles" (
	"user_id" uuid NOT NULL,
	"role_id" text NOT NULL,
	"source" text DEFAULT 'local' NOT NULL,
	"granted_by" uuid,
	"granted_at" timestamp with time zone NOT NULL,
	"expires_at" timestamp with time zone,
	CONSTRAINT "user_roles_user_id_role_id_source_pk" PRIMARY KEY("user_id","role_id","source")
);
--> statement-breakpoint
CREATE TABLE "job_schedules" (
	"name" text PRIMARY KEY NOT NULL,
	"cron" text NOT NULL,
	"timezone" text NOT NULL,
	"kind" text NOT NULL,
	"payload" jsonb NOT NULL,
	"next_at" timestamp with time zone NOT NULL
);
--> statement-breakpoint
CREATE TABLE "jobs" (
	"id" uuid PRIMARY KEY NOT NULL,
	"seq" bigint GENERATED ALWAYS AS IDENTITY (sequence name "jobs_seq_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"kind" text NOT NULL,
	"status" text DEFAULT 'queued' NOT NULL,
	"payload" jsonb NOT NULL,
	"owner_id" uuid,
	"dedupe_key" text,
	"group_key" text,
	"run_at" timestamp with time zone NOT NULL,
	"attempt" integer DEFAULT 0 NOT NULL,
	"attempts_max" integer NOT NULL,
	"backoff_ms" integer NOT NULL,
	"progress" integer DEFAULT 0 NOT NULL,
	"detail" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"error_code" text,
	"error_message" text,
	"lease" uuid,
	"lease_until" timestamp with time zone,
	"cancel_requested_at" timestamp with time zone,
	"created_at" timestamp with time zone NOT NULL,
	"started_at" timestamp with time zone,
	"ended_at" timestamp with time zone
);
--> statement-breakpoint
CREATE TABLE "blob_parts" (
	"blob_id" uuid NOT NULL,
	"part" integer NOT NULL,
	"bytes" "bytea" NOT NULL,
	CONSTRAINT "blob_parts_blob_id_part_pk" PRIMARY KEY("blob_id","part")
);
--> statement-breakpoint
CREATE TABLE "blobs" (
	"id" uuid PRIMARY KEY NOT NULL,
	"size_bytes" bigint,
	"sha256" text,
	"created_at" timestamp with time zone NOT NULL,
	"completed_at" timestamp with time zone
);
--> statement-breakpoint
CREATE TABLE "bot_memory" (
	"id" uuid PRIMARY KEY NOT NULL,
	"bot_id" uuid,
	"user_id" uuid,
	"key" text NOT NULL,
	"value" jsonb NOT NULL,
	"kind" text,
	"expires_at" timestamp with time zone,
	"version" integer DEFAULT 1 NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "bot_memory_key" UNIQUE NULLS NOT DISTINCT("bot_id","user_id","key")
);
--> statement-breakpoint
CREATE TABLE "bot_settings" (
	"bot_id" uuid NOT NULL,
	"source" text NOT NULL,
	"name" text NOT NULL,
	"value" text NOT NULL,
	"is_sealed" boolean DEFAULT false NOT NULL,
	"updated_by" uuid,
	"updated_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "bot_settings_bot_id_source_name_pk" PRIMARY KEY("bot_id","source","name")
);
--> statement-breakpoint
CREATE TABLE "bots" (
	"id" uuid PRIMARY KEY NOT NULL,
	"name" text NOT NULL,
	"display_name" text NOT NULL,
	"description" text DEFAULT '' NOT NULL,
	"avatar_url" text,
	"language" text DEFAULT 'en' NOT NULL,
	"organization_id" uuid,
	"visibility" text DEFAULT 'organization' NOT NULL,
	"anonymous_allowed" boolean DEFAULT false NOT NULL,
	"allowed_roles" text[] DEFAULT '{}'::text[] NOT NULL,
	"allowed_groups" text[] DEFAULT '{}'::text[] NOT NULL,
	"allowed_users" text[] DEFAULT '{}'::text[] NOT NULL,
	"denied_users" text[] DEFAULT '{}'::text[] NOT NULL,
	"system_permissions" text[] DEFAULT '{}'::text[] NOT NULL,
	"max_concurrent_sessions" integer,
	"status" text DEFAULT 'active' NOT NULL,
	"version" integer DEFAULT 0 NOT NULL,
	"generation" integer DEFAULT 1 NOT NULL,
	"package_sha256" text,
	"loaded" jsonb DEFAULT '{"dialogs":0,"tools":0,"schedules":0}'::jsonb NOT NULL,
	"problems" jsonb DEFAULT '[]'::jsonb NOT NULL,
	"broken_scripts" text[] DEFAULT '{}'::text[] NOT NULL,
	"last_restart" jsonb,
	"created_by" uuid,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp with time zone DEFAULT now() NOT NULL,
	"deleted_at" timestamp with time zone,
	"deleted_by" uuid,
	"conversations_on_erase" text DEFAULT 'keep' NOT NULL
);
--> statement-breakpoint
CREATE TABLE "conversation_contexts" (
	"conversation_id" uuid PRIMARY KEY NOT NULL,
	"bot_id" uuid NOT NULL,
	"variables" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"contexts" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"active_kbs" jsonb,
	"active_websites" jsonb DEFAULT '[]'::jsonb NOT NULL,
	"active_tools" jsonb,
	"bots" jsonb DEFAULT '[]'::jsonb NOT NULL,
	"system_prompt" text,
	"model" text,
	"answer_mode" text,
	"suggestions" jsonb DEFAULT '[]'::jsonb NOT NULL,
	"switchers" jsonb DEFAULT '[]'::jsonb NOT NULL,
	"summary" text,
	"summary_to_seq" bigint DEFAULT 0 NOT NULL,
	"updated_at" timestamp with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
CREATE TABLE "attachments" (
	"id" uuid PRIMARY KEY NOT NULL,
	"conversation_id" uuid NOT NULL,
	"message_id" uuid,
	"blob_id" text NOT NULL,
	"name" text NOT NULL,
	"mime" text NOT NULL,
	"size_bytes" integer NOT NULL,
	"sha256" text NOT NULL,
	"created_at" timestamp with time zone NOT NULL
);
--> statement-breakpoint
CREATE TABLE "chat_tokens" (
	"hash" text PRIMARY KEY NOT NULL,
	"conversation_id" uuid NOT NULL,
	"created_at" timestamp with time zone NOT NULL,
	"ended_at" timestamp with time zone
);
--> statement-breakpoint
CREATE TABLE "conversation_outcomes" (
	"id" uuid PRIMARY KEY NOT NULL,
	"conversation_id" uuid NOT NULL,
	"bot_id" uuid NOT NULL,
	"user_id" uuid,
	"channel" text NOT NULL,
	"first_seq" integer NOT NULL,
	"last_seq" integer NOT NULL,
	"started_at" timestamp with time zone NOT NULL,
	"ended_at" timestamp with time zone NOT NULL,
	"closed" boolean NOT NULL,
	"user_messages" integer NOT NULL,
	"bot_messages" integer NOT NULL,
	"attendant_messages" integer NOT NULL,
	"first_answer_ms" integer,
	"median_answer_ms" integer,
	"handed_over" boolean NOT NULL,
	"resolution" text,
	"resolved_by" text,
	"rating" smallint,
	"no_answer_count" integer NOT NULL
);
--> statement-breakpoint
CREATE TABLE "conversations" (
	"id" uuid PRIMARY KEY NOT NULL,
	"bot_id" uuid NOT NULL,
	"bot_name" text NOT NULL,
	"user_id" uuid,
	"channel" text DEFAULT 'web' NOT NULL,
	"title" text,
	"status" text DEFAULT 'active' NOT NULL,
	"closed_reason" text,
	"handler" text DEFAULT 'bot' NOT NULL,
	"resolution" text,
	"resolved_by" text,
	"rating" smallint,
	"rating_comment" text,
	"rated_at" timestamp with time zone,
	"last_seq" integer DEFAULT 0 NOT NULL,
	"last_message" text DEFAULT '' NOT NULL,
	"last_activity" timestamp with time zone NOT NULL,
	"activity_day" date NOT NULL,
	"message_count" integer DEFAULT 0 NOT NULL,
	"unread_count" integer DEFAULT 0 NOT NULL,
	"read_seq" integer DEFAULT 0 NOT NULL,
	"started_at" timestamp with time zone NOT NULL,
	"closed_at" timestamp with time zone,
	"expires_at" timestamp with time zone,
	"erase_at" timestamp with time zone,
	"language" text,
	"pinned" boolean DEFAULT false NOT NULL,
	"tags" jsonb DEFAULT '[]'::jsonb NOT NULL,
	"metadata" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"open_turns" integer DEFAULT 0 NOT NULL,
	"span_seq" integer DEFAULT 1 NOT NULL,
	"span_open" boolean DEFAULT false NOT NULL,
	"handed_over_at" timestamp with time zone,
	"claimed_at" timestamp with time zone,
	"version" integer DEFAULT 1 NOT NULL
);
--> statement-breakpoint
CREATE TABLE "messages" (
	"id" uuid PRIMARY KEY NOT NULL,
	"conversation_id" uuid NOT NULL,
	"seq" integer NOT NULL,
	"sender" text NOT NULL,
	"sender_id" uuid,
	"sender_name" text,
	"type" text DEFAULT 'text' NOT NULL,
	"content" text NOT NULL,
	"content_type" text DEFAULT 'text/markdown' NOT NULL,
	"attachments" jsonb DEFAULT '[]'::jsonb NOT NULL,
	"suggestions" jsonb DEFAULT '[]'::jsonb NOT NULL,
	"citations" jsonb DEFAULT '[]'::jsonb NOT NULL,
	"reply_to" uuid,
	"client_id" text,
	"dedupe_key" text,
	"turn_id" uuid,
	"status" text NOT NULL,
	"feedback" text,
	"feedback_comment" text,
	"usage" jsonb,
	"metadata" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"is_complete" boolean DEFAULT true NOT NULL,
	"finish_reason" text,
	"superseded_by" uuid,
	"created_at" timestamp with time zone NOT NULL,
	"edited_at" timestamp with time zone,
	"deleted_at" timestamp with time zone,
	"changed_seq" integer,
	"changed_at" timestamp with time zone
);
--> statement-breakpoint
CREATE TABLE "conversation_orphaned_blobs" (
	"blob_id" text PRIMARY KEY NOT NULL,
	"created_at" timestamp with time zone NOT NULL
);
--> statement-breakpoint
CREATE TABLE "turns" (
	"id" uuid PRIMARY KEY NOT NULL,
	"conversation_id" uuid NOT NULL,
	"kind" text NOT NULL,
	"message_id" uuid,
	"answer_id" uuid NOT NULL,
	"supersedes" uuid,
	"position" integer NOT NULL,
	"state" text NOT NULL,
	"lease_owner" uuid,
	"lease_until" timestamp with time zone,
	"attempt" integer DEFAULT 0 NOT NULL,
	"cancel_requested" boolean DEFAULT false NOT NULL,
	"switchers" jsonb DEFAULT '[]'::jsonb NOT NULL,
	"failure" jsonb,
	"created_at" timestamp with time zone NOT NULL,
	"ended_at" timestamp with time zone
);
--> statement-breakpoint
CREATE TABLE "kb_chunks" (
	"id" uuid PRIMARY KEY NOT NULL,
	"document_id" uuid NOT NULL,
	"collection_id" uuid NOT NULL,
	"version" integer NOT NULL,
	"ordinal" integer NOT NULL,
	"text" text NOT NULL,
	"heading_path" text[] DEFAULT '{}'::text[] NOT NULL,
	"page" integer,
	"slide" integer,
	"sheet" text,
	"row" integer,
	"line" integer,
	"char_start" integer NOT NULL,
	"char_end" integer NOT NULL,
	"tokens" integer NOT NULL,
	"terms_count" integer DEFAULT 0 NOT NULL,
	"language" text,
	"terms" text NOT NULL
);
--> statement-breakpoint
CREATE TABLE "kb_collections" (
	"id" uuid PRIMARY KEY NOT NULL,
	"bot_id" uuid NOT NULL,
	"name" text NOT NULL,
	"name_key" text NOT NULL,
	"description" text DEFAULT '' NOT NULL,
	"source" text DEFAULT 'upload' NOT NULL,
	"auto" boolean DEFAULT false NOT NULL,
	"default_access" text DEFAULT 'authenticated' NOT NULL,
	"embedding_model" text,
	"dimensions" integer,
	"next_embedding_model" text,
	"next_dimensions" integer,
	"generation" bigint DEFAULT 0 NOT NULL,
	"change_seq" bigint DEFAULT 0 NOT NULL,
	"swept_seq" bigint DEFAULT 0 NOT NULL,
	"chunks_count" integer DEFAULT 0 NOT NULL,
	"created_by" uuid,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp with time zone DEFAULT now() NOT NULL,
	"last_indexed_at" timestamp with time zone
);
--> statement-breakpoint
CREATE TABLE "kb_documents" (
	"id" uuid PRIMARY KEY NOT NULL,
	"collection_id" uuid NOT NULL,
	"bot_id" uuid NOT NULL,
	"name" text NOT NULL,
	"path" text DEFAULT '' NOT NULL,
	"title" text NOT NULL,
	"is_title_given" boolean DEFAULT false NOT NULL,
	"mime" text NOT NULL,
	"bytes" bigint DEFAULT 0 NOT NULL,
	"sha256" text DEFAULT '' NOT NULL,
	"language" text,
	"status" text DEFAULT 'pending' NOT NULL,
	"error_code" text,
	"error_message" text,
	"pages" integer,
	"chunks_count" integer DEFAULT 0 NOT NULL,
	"tokens" integer DEFAULT 0 NOT NULL,
	"version" integer DEFAULT 1 NOT NULL,
	"visible_version" integer,
	"source_url" text,
	"external_id" text,
	"tags" text[] DEFAULT '{}'::text[] NOT NULL,
	"metadata" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"access" jsonb,
	"access_level" text DEFAULT 'none' NOT NULL,
	"allowed_roles" text[] DEFAULT '{}'::text[] NOT NULL,
	"allowed_groups" text[] DEFAULT '{}'::text[] NOT NULL,
	"allowed_users" text[] DEFAULT '{}'::text[] NOT NULL,
	"index_visibility" text DEFAULT 'none' NOT NULL,
	"change_seq" bigint DEFAULT 0 NOT NULL,
	"blob_id" text,
	"needs_fetch" boolean DEFAULT false NOT NULL,
	"text_blob_id" text,
	"index_key" text,
	"draft_key" text,
	"lease_job" text,
	"lease_until" timestamp with time zone,
	"created_by" uuid,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp with time zone DEFAULT now() NOT NULL,
	"indexed_at" timestamp with time zone
);
--> statement-breakpoint
CREATE TABLE "kb_folder_rules" (
	"id" uuid PRIMARY KEY NOT NULL,
	"bot_id" uuid NOT NULL,
	"collection_key" text NOT NULL,
	"path" text DEFAULT '' NOT NULL,
	"rule" jsonb NOT NULL,
	"origin" text DEFAULT 'api' NOT NULL,
	"updated_by" uuid,
	"updated_at" timestamp with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
CREATE TABLE "kb_job_documents" (
	"job_id" text NOT NULL,
	"document_id" uuid NOT NULL,
	"name" text NOT NULL,
	"status" text DEFAULT 'pending' NOT NULL,
	"error_code" text,
	"error_message" text,
	CONSTRAINT "kb_job_documents_job_id_document_id_pk" PRIMARY KEY("job_id","document_id")
);
--> statement-breakpoint
CREATE TABLE "kb_jobs" (
	"id" text PRIMARY KEY NOT NULL,
	"bot_id" uuid,
	"collection_id" uuid,
	"kind" text NOT NULL,
	"created_by" uuid,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
CREATE TABLE "kb_removals" (
	"collection_id" uuid NOT NULL,
	"change_seq" bigint NOT NULL,
	"document_id" uuid NOT NULL,
	"removed_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "kb_removals_collection_id_change_seq_document_id_pk" PRIMARY KEY("collection_id","change_seq","document_id")
);
--> statement-breakpoint
CREATE TABLE "kb_rule_sets" (
	"bot_id" uuid PRIMARY KEY NOT NULL,
	"default_access" text,
	"inheritance" boolean DEFAULT true NOT NULL,
	"file_sha256" text,
	"updated_at" timestamp with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
CREATE TABLE "kb_seeds" (
	"name" text PRIMARY KEY NOT NULL,
	"sha256" text NOT NULL,
	"collection_id" uuid,
	"seeded_at" timestamp with time zone NOT NULL
);
--> statement-breakpoint
CREATE TABLE "kb_vectors" (
	"chunk_id" uuid NOT NULL,
	"document_id" uuid NOT NULL,
	"collection_id" uuid NOT NULL,
	"model" text NOT NULL,
	"embedding" "bytea" NOT NULL,
	CONSTRAINT "kb_vectors_chunk_id_model_pk" PRIMARY KEY("chunk_id","model")
);
--> statement-breakpoint
CREATE TABLE "api_keys" (
	"id" uuid PRIMARY KEY NOT NULL,
	"user_id" uuid NOT NULL,
	"name" text NOT NULL,
	"prefix" text NOT NULL,
	"secret_hash" text NOT NULL,
	"previous_hash" text,
	"previous_until" timestamp with time zone,
	"scopes" jsonb NOT NULL,
	"ip_allowlist" jsonb DEFAULT '[]'::jsonb NOT NULL,
	"expires_at" timestamp with time zone,
	"last_used_at" timestamp with time zone,
	"last_used_ip" text,
	"created_at" timestamp with time zone NOT NULL,
	"revoked_at" timestamp with time zone
);
--> statement-breakpoint
CREATE TABLE "backup_codes" (
	"code_mac" text NOT NULL,
	"user_id" uuid NOT NULL,
	"used_at" timestamp with time zone,
	CONSTRAINT "backup_codes_user_id_code_mac_pk" PRIMARY KEY("user_id","code_mac")
);
--> statement-breakpoint
CREATE TABLE "identities" (
	"provider" text NOT NULL,
	"issuer" text NOT NULL,
	"subject" text NOT NULL,
	"user_id" uuid NOT NULL,
	"linked_at" timestamp with time zone NOT NULL,
	CONSTRAINT "identities_issuer_subject_pk" PRIMARY KEY("issuer","subject")
);
--> statement-breakpoint
CREATE TABLE "one_time_tokens" (
	"token_hash" text PRIMARY KEY NOT NULL,
	"purpose" text NOT NULL,
	"user_id" uuid,
	"data" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"created_at" timestamp with time zone NOT NULL,
	"expires_at" timestamp with time zone NOT NULL,
	"used_at" timestamp with time zone
);
--> statement-breakpoint
CREATE TABLE "password_history" (
	"id" uuid PRIMARY KEY NOT NULL,
	"user_id" uuid NOT NULL,
	"password_hash" text NOT NULL,
	"created_at" timestamp with time zone NOT NULL
);
--> statement-breakpoint
CREATE TABLE "refresh_tokens" (
	"token_hash" text PRIMARY KEY NOT NULL,
	"session_id" uuid NOT NULL,
	"created_at" timestamp with time zone NOT NULL,
	"used_at" timestamp with time zone,
	"successor_sealed" text
);
--> statement-breakpoint
CREATE TABLE "security_settings" (
	"id" integer PRIMARY KEY DEFAULT 1 NOT NULL,
	"settings" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"version" integer DEFAULT 1 NOT NULL,
	"updated_at" timestamp with time zone NOT NULL
);
--> statement-breakpoint
CREATE TABLE "sessions" (
	"id" uuid PRIMARY KEY NOT NULL,
	"user_id" uuid NOT NULL,
	"bot_id" uuid,
	"organization_id" uuid,
	"status" text DEFAULT 'active' NOT NULL,
	"ended_reason" text,
	"method" text NOT NULL,
	"remember_me" boolean DEFAULT false NOT NULL,
	"restricted" text,
	"ip_address" text,
	"user_agent" text,
	"device" text,
	"location" text,
	"provider_session_id" text,
	"created_at" timestamp with time zone NOT NULL,
	"last_activity" timestamp with time zone NOT NULL,
	"expires_at" timestamp with time zone NOT NULL,
	"ended_at" timestamp with time zone
);
--> statement-breakpoint
CREATE TABLE "sign_in_failures" (
	"name_key" text PRIMARY KEY NOT NULL,
	"count" integer NOT NULL,
	"window_started_at" timestamp with time zone NOT NULL,
	"locked_until" timestamp with time zone
);
--> statement-breakpoint
CREATE TABLE "two_factors" (
	"user_id" uuid PRIMARY KEY NOT NULL,
	"method" text NOT NULL,
	"secret_sealed" text,
	"phone" text,
	"enabled_at" timestamp with time zone,
	"created_at" timestamp with time zone NOT NULL,
	"last_counter" bigint DEFAULT 0 NOT NULL
);
--> statement-breakpoint
CREATE TABLE "users" (
	"id" uuid PRIMARY KEY NOT NULL,
	"username" text NOT NULL,
	"username_key" text NOT NULL,
	"email" text NOT NULL,
	"email_key" text NOT NULL,
	"pending_email" text,
	"email_verified" boolean DEFAULT false NOT NULL,
	"display_name" text NOT NULL,
	"first_name" text,
	"last_name" text,
	"avatar_url" text,
	"avatar_blob" text,
	"phone" text,
	"organization_id" uuid,
	"status" text NOT NULL,
	"suspended_reason" text,
	"password_hash" text,
	"password_changed_at" timestamp with time zone,
	"must_change_password" boolean DEFAULT false NOT NULL,
	"metadata" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"settings" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"authz_version" integer DEFAULT 1 NOT NULL,
	"created_at" timestamp with time zone NOT NULL,
	"updated_at" timestamp with time zone NOT NULL,
	"last_login" timestamp with time zone,
	"deleted_at" timestamp with time zone,
	CONSTRAINT "users_usernameKey_unique" UNIQUE("username_key"),
	CONSTRAINT "users_emailKey_unique" UNIQUE("email_key")
);
--> statement-breakpoint
ALTER TABLE "audit_personal" ADD CONSTRAINT "audit_personal_audit_id_audit_log_id_fk" FOREIGN KEY ("audit_id") REFERENCES "public"."audit_log"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "group_members" ADD CONSTRAINT "group_members_group_id_groups_id_fk" FOREIGN KEY ("group_id") REFERENCES "public"."groups"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "group_permissions" ADD CONSTRAINT "group_permissions_group_id_groups_id_fk" FOREIGN KEY ("group_id") REFERENCES "public"."groups"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "group_roles" ADD CONSTRAINT "group_roles_group_id_groups_id_fk" FOREIGN KEY ("group_id") REFERENCES "public"."groups"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "group_roles" ADD CONSTRAINT "group_roles_role_id_roles_id_fk" FOREIGN KEY ("role_id") REFERENCES "public"."roles"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "role_parents" ADD CONSTRAINT "role_parents_role_id_roles_id_fk" FOREIGN KEY ("role_id") REFERENCES "public"."roles"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "role_parents" ADD CONSTRAINT "role_parents_parent_id_roles_id_fk" FOREIGN KEY ("parent_id") REFERENCES "public"."roles"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "role_permissions" ADD CONSTRAINT "role_permissions_role_id_roles_id_fk" FOREIGN KEY ("role_id") REFERENCES "public"."roles"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "user_roles" ADD CONSTRAINT "user_roles_role_id_roles_id_fk" FOREIGN KEY ("role_id") REFERENCES "public"."roles"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "blob_parts" ADD CONSTRAINT "blob_parts_blob_id_blobs_id_fk" FOREIGN KEY ("blob_id") REFERENCES "public"."blobs"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "bot_memory" ADD CONSTRAINT "bot_memory_bot_id_bots_id_fk" FOREIGN KEY ("bot_id") REFERENCES "public"."bots"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "bot_settings" ADD CONSTRAINT "bot_settings_bot_id_bots_id_fk" FOREIGN KEY ("bot_id") REFERENCES "public"."bots"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "conversation_contexts" ADD CONSTRAINT "conversation_contexts_conversation_id_conversations_id_fk" FOREIGN KEY ("conversation_id") REFERENCES "public"."conversations"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "attachments" ADD CONSTRAINT "attachments_conversation_id_conversations_id_fk" FOREIGN KEY ("conversation_id") REFERENCES "public"."conversations"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "chat_tokens" ADD CONSTRAINT "chat_tokens_conversation_id_conversations_id_fk" FOREIGN KEY ("conversation_id") REFERENCES "public"."conversations"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "messages" ADD CONSTRAINT "messages_conversation_id_conversations_id_fk" FOREIGN KEY ("conversation_id") REFERENCES "public"."conversations"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "turns" ADD CONSTRAINT "turns_conversation_id_conversations_id_fk" FOREIGN KEY ("conversation_id") REFERENCES "public"."conversations"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "kb_chunks" ADD CONSTRAINT "kb_chunks_document_id_kb_documents_id_fk" FOREIGN KEY ("document_id") REFERENCES "public"."kb_documents"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "kb_documents" ADD CONSTRAINT "kb_documents_collection_id_kb_collections_id_fk" FOREIGN KEY ("collection_id") REFERENCES "public"."kb_collections"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "kb_job_documents" ADD CONSTRAINT "kb_job_documents_job_id_kb_jobs_id_fk" FOREIGN KEY ("job_id") REFERENCES "public"."kb_jobs"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "kb_jobs" ADD CONSTRAINT "kb_jobs_collection_id_kb_collections_id_fk" FOREIGN KEY ("collection_id") REFERENCES "public"."kb_collections"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "kb_vectors" ADD CONSTRAINT "kb_vectors_chunk_id_kb_chunks_id_fk" FOREIGN KEY ("chunk_id") REFERENCES "public"."kb_chunks"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "api_keys" ADD CONSTRAINT "api_keys_user_id_users_id_fk" FOREIGN KEY ("user_id") REFERENCES "public"."users"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "backup_codes" ADD CONSTRAINT "backup_codes_user_id_users_id_fk" FOREIGN KEY ("user_id") REFERENCES "public"."users"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "identities" ADD CONSTRAINT "identities_user_id_users_id_fk" FOREIGN KEY ("user_id") REFERENCES "public"."users"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "one_time_tokens" ADD CONSTRAINT "one_time_tokens_user_id_users_id_fk" FOREIGN KEY ("user_id") REFERENCES "public"."users"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "password_history" ADD CONSTRAINT "password_history_user_id_users_id_fk" FOREIGN KEY ("user_id") REFERENCES "public"."users"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "refresh_tokens" ADD CONSTRAINT "refresh_tokens_session_id_sessions_id_fk" FOREIGN KEY ("session_id") REFERENCES "public"."sessions"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "sessions" ADD CONSTRAINT "sessions_user_id_users_id_fk" FOREIGN KEY ("user_id") REFERENCES "public"."users"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "two_factors" ADD CONSTRAINT "two_factors_user_id_users_id_fk" FOREIGN KEY ("user_id") REFERENCES "public"."users"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "audit_log_at" ON "audit_log" USING btree ("at");--> statement-breakpoint
CREATE INDEX "audit_log_user" ON "audit_log" USING btree ("user_id","at");--> statement-breakpoint
CREATE INDEX "audit_log_type" ON "audit_log" USING btree ("event_type","at");--> statement-breakpoint
CREATE INDEX "audit_log_resource" ON "audit_log" USING btree ("resource_type","resource_id");--> statement-breakpoint
CREATE INDEX "audit_personal_user" ON "audit_personal" USING btree ("user_id");--> statement-breakpoint
CREATE INDEX "events_created_at" ON "events" USING btree ("created_at");--> statement-breakpoint
CREATE INDEX "events_owner" ON "events" USING btree ("owner_id");--> statement-breakpoint
CREATE INDEX "idempotency_keys_created_at" ON "idempotency_keys" USING btree ("created_at");--> statement-breakpoint
CREATE INDEX "group_members_user" ON "group_members" USING btree ("user_id");--> statement-breakpoint
CREATE INDEX "groups_parent" ON "groups" USING btree ("parent_id");--> statement-breakpoint
CREATE INDEX "user_roles_role" ON "user_roles" USING btree ("role_id");--> statement-breakpoint
CREATE INDEX "job_schedules_next" ON "job_schedules" USING btree ("next_at");--> statement-breakpoint
CREATE INDEX "jobs_due" ON "jobs" USING btree ("kind","run_at","seq") WHERE status = 'queued';--> statement-breakpoint
CREATE INDEX "jobs_leases" ON "jobs" USING btree ("lease_until") WHERE status = 'running';--> statement-breakpoint
CREATE INDEX "jobs_groups" ON "jobs" USING btree ("group_key","seq") WHERE group_key is not null and status in ('queued', 'running');--> statement-breakpoint
CREATE UNIQUE INDEX "jobs_group_running" ON "jobs" USING btree ("group_key") WHERE group_key is not null and status = 'running';--> statement-breakpoint
CREATE UNIQUE INDEX "jobs_dedupe" ON "jobs" USING btree ("kind","dedupe_key") WHERE dedupe_key is not null and status in ('queued', 'running');--> statement-breakpoint
CREATE INDEX "jobs_owner" ON "jobs" USING btree ("owner_id","seq");--> statement-breakpoint
CREATE INDEX "jobs_kind" ON "jobs" USING btree ("kind","seq");--> statement-breakpoint
CREATE INDEX "jobs_ended" ON "jobs" USING btree ("ended_at") WHERE ended_at is not null;--> statement-breakpoint
CREATE INDEX "blobs_completed" ON "blobs" USING btree ("completed_at","id");--> statement-breakpoint
CREATE INDEX "bot_memory_user" ON "bot_memory" USING btree ("user_id","key");--> statement-breakpoint
CREATE INDEX "bot_memory_expiry" ON "bot_memory" USING btree ("expires_at") WHERE expires_at is not null;--> statement-breakpoint
CREATE UNIQUE INDEX "bots_name" ON "bots" USING btree ("name") WHERE deleted_at is null;--> statement-breakpoint
CREATE INDEX "bots_deleted" ON "bots" USING btree ("deleted_at") WHERE deleted_at is not null;--> statement-breakpoint
CREATE INDEX "attachments_conversation" ON "attachments" USING btree ("conversation_id");--> statement-breakpoint
CREATE INDEX "attachments_unused" ON "attachments" USING btree ("created_at") WHERE "attachments"."message_id" is null;--> statement-breakpoint
CREATE INDEX "chat_tokens_conversation" ON "chat_tokens" USING btree ("conversation_id");--> statement-breakpoint
CREATE UNIQUE INDEX "conversation_outcomes_span" ON "conversation_outcomes" USING btree ("conversation_id","first_seq");--> statement-breakpoint
CREATE INDEX "conversation_outcomes_ended" ON "conversation_outcomes" USING btree ("ended_at");--> statement-breakpoint
CREATE INDEX "conversation_outcomes_user" ON "conversation_outcomes" USING btree ("user_id");--> statement-breakpoint
CREATE INDEX "conversations_owner" ON "conversations" USING btree ("user_id","activity_day");--> statement-breakpoint
CREATE INDEX "conversations_bot" ON "conversations" USING btree ("bot_id","activity_day");--> statement-breakpoint
CREATE INDEX "conversations_day" ON "conversations" USING btree ("activity_day");--> statement-breakpoint
CREATE INDEX "conversations_anonymous" ON "conversations" USING btree ("id") WHERE "conversations"."user_id" is null and "conversations"."status" = 'active';--> statement-breakpoint
CREATE INDEX "conversations_erase" ON "conversations" USING btree ("erase_at") WHERE "conversations"."erase_at" is not null;--> statement-breakpoint
CREATE INDEX "conversations_span" ON "conversations" USING btree ("id") WHERE "conversations"."span_open";--> statement-breakpoint
CREATE INDEX "conversations_title" ON "conversations" USING gin (to_tsvector('simple', coalesce("title", '')));--> statement-breakpoint
CREATE UNIQUE INDEX "messages_seq" ON "messages" USING btree ("conversation_id","seq");--> statement-breakpoint
CREATE UNIQUE INDEX "messages_dedupe" ON "messages" USING btree ("conversation_id","dedupe_key") WHERE "messages"."dedupe_key" is not null;--> statement-breakpoint
CREATE INDEX "messages_text" ON "messages" USING gin (to_tsvector('simple', "content"));--> statement-breakpoint
CREATE UNIQUE INDEX "turns_running" ON "turns" USING btree ("conversation_id") WHERE "turns"."state" = 'running';--> statement-breakpoint
CREATE INDEX "turns_open" ON "turns" USING btree ("conversation_id","position") WHERE "turns"."state" in ('waiting', 'running');--> statement-breakpoint
CREATE INDEX "turns_conversation" ON "turns" USING btree ("conversation_id");--> statement-breakpoint
CREATE UNIQUE INDEX "kb_chunks_order" ON "kb_chunks" USING btree ("document_id","version","ordinal");--> statement-breakpoint
CREATE INDEX "kb_chunks_collection" ON "kb_chunks" USING btree ("collection_id");--> statement-breakpoint
CREATE UNIQUE INDEX "kb_collections_name" ON "kb_collections" USING btree ("bot_id","name_key");--> statement-breakpoint
CREATE UNIQUE INDEX "kb_documents_place" ON "kb_documents" USING btree ("collection_id","path","name");--> statement-breakpoint
CREATE UNIQUE INDEX "kb_documents_external" ON "kb_documents" USING btree ("collection_id","external_id") WHERE external_id is not null;--> statement-breakpoint
CREATE INDEX "kb_documents_bot" ON "kb_documents" USING btree ("bot_id","updated_at");--> statement-breakpoint
CREATE INDEX "kb_documents_changes" ON "kb_documents" USING btree ("collection_id","change_seq");--> statement-breakpoint
CREATE INDEX "kb_documents_open" ON "kb_documents" USING btree ("collection_id") WHERE status in ('pending', 'extracting', 'chunking', 'embedding');--> statement-breakpoint
CREATE INDEX "kb_documents_tags" ON "kb_documents" USING gin ("tags");--> statement-breakpoint
CREATE UNIQUE INDEX "kb_folder_rules_place" ON "kb_folder_rules" USING btree ("bot_id","collection_key","path");--> statement-breakpoint
CREATE INDEX "kb_job_documents_document" ON "kb_job_documents" USING btree ("document_id");--> statement-breakpoint
CREATE INDEX "kb_jobs_bot" ON "kb_jobs" USING btree ("bot_id","created_at");--> statement-breakpoint
CREATE INDEX "kb_jobs_owner" ON "kb_jobs" USING btree ("created_by");--> statement-breakpoint
CREATE INDEX "kb_vectors_collection" ON "kb_vectors" USING btree ("collection_id","model");--> statement-breakpoint
CREATE INDEX "kb_vectors_document" ON "kb_vectors" USING btree ("document_id");--> statement-breakpoint
CREATE UNIQUE INDEX "api_keys_secret" ON "api_keys" USING btree ("secret_hash");--> statement-breakpoint
CREATE INDEX "api_keys_previous" ON "api_keys" USING btree ("previous_hash");--> statement-breakpoint
CREATE INDEX "api_keys_user" ON "api_keys" USING btree ("user_id");--> statement-breakpoint
CREATE INDEX "identities_user" ON "identities" USING btree ("user_id");--> statement-breakpoint
CREATE INDEX "one_time_tokens_user" ON "one_time_tokens" USING btree ("user_id","purpose");--> statement-breakpoint
CREATE INDEX "password_history_user" ON "password_history" USING btree ("user_id");--> statement-breakpoint
CREATE INDEX "refresh_tokens_session" ON "refresh_tokens" USING btree ("session_id");--> statement-breakpoint
CREATE INDEX "sessions_user" ON "sessions" USING btree ("user_id","status");--> statement-breakpoint
CREATE INDEX "sessions_expires_at" ON "sessions" USING btree ("expires_at") WHERE status = 'active';--> statement-breakpoint
CREATE INDEX "users_status" ON "users" USING btree ("status");--> statement-breakpoint
CREATE INDEX "users_created_at" ON "users" USING btree ("created_at");