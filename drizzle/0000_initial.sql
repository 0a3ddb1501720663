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
	"tsv" "tsvector" NOT NULL
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
	"chunks_count" integer DEFAULT 0 NOT NULL,
	"terms_count" bigint DEFAULT 0 NOT NULL,
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
	"mime" text NOT NULL,
	"bytes" bigint NOT NULL,
	"sha256" text NOT NULL,
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
	"blob_id" text NOT NULL,
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
	"bot_id" uuid NOT NULL,
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
CREATE TABLE "kb_terms" (
	"collection_id" uuid NOT NULL,
	"term" text NOT NULL,
	"df" integer NOT NULL,
	CONSTRAINT "kb_terms_collection_id_term_pk" PRIMARY KEY("collection_id","term")
);
--> statement-breakpoint
CREATE TABLE "kb_vectors" (
	"chunk_id" uuid NOT NULL,
	"document_id" uuid NOT NULL,
	"collection_id" uuid NOT NULL,
	"model" text NOT NULL,
	"version" bigint NOT NULL,
	"embedding" "bytea" NOT NULL,
	CONSTRAINT "kb_vectors_chunk_id_model_pk" PRIMARY KEY("chunk_id","model")
);
--> statement-breakpoint
ALTER TABLE "audit_personal" ADD CONSTRAINT "audit_personal_audit_id_audit_log_id_fk" FOREIGN KEY ("audit_id") REFERENCES "public"."audit_log"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "bot_memory" ADD CONSTRAINT "bot_memory_bot_id_bots_id_fk" FOREIGN KEY ("bot_id") REFERENCES "public"."bots"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "bot_settings" ADD CONSTRAINT "bot_settings_bot_id_bots_id_fk" FOREIGN KEY ("bot_id") REFERENCES "public"."bots"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "kb_chunks" ADD CONSTRAINT "kb_chunks_document_id_kb_documents_id_fk" FOREIGN KEY ("document_id") REFERENCES "public"."kb_documents"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "kb_documents" ADD CONSTRAINT "kb_documents_collection_id_kb_collections_id_fk" FOREIGN KEY ("collection_id") REFERENCES "public"."kb_collections"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "kb_job_documents" ADD CONSTRAINT "kb_job_documents_job_id_kb_jobs_id_fk" FOREIGN KEY ("job_id") REFERENCES "public"."kb_jobs"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "kb_jobs" ADD CONSTRAINT "kb_jobs_collection_id_kb_collections_id_fk" FOREIGN KEY ("collection_id") REFERENCES "public"."kb_collections"("id") ON DELETE set null ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "kb_terms" ADD CONSTRAINT "kb_terms_collection_id_kb_collections_id_fk" FOREIGN KEY ("collection_id") REFERENCES "public"."kb_collections"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "kb_vectors" ADD CONSTRAINT "kb_vectors_chunk_id_kb_chunks_id_fk" FOREIGN KEY ("chunk_id") REFERENCES "public"."kb_chunks"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "audit_log_at" ON "audit_log" USING btree ("at");--> statement-breakpoint
CREATE INDEX "audit_log_user" ON "audit_log" USING btree ("user_id","at");--> statement-breakpoint
CREATE INDEX "audit_log_type" ON "audit_log" USING btree ("event_type","at");--> statement-breakpoint
CREATE INDEX "audit_log_resource" ON "audit_log" USING btree ("resource_type","resource_id");--> statement-breakpoint
CREATE INDEX "audit_personal_user" ON "audit_personal" USING btree ("user_id");--> statement-breakpoint
CREATE INDEX "events_created_at" ON "events" USING btree ("created_at");--> statement-breakpoint
CREATE INDEX "events_owner" ON "events" USING btree ("owner_id");--> statement-breakpoint
CREATE INDEX "bot_memory_user" ON "bot_memory" USING btree ("user_id","key");--> statement-breakpoint
CREATE INDEX "bot_memory_expiry" ON "bot_memory" USING btree ("expires_at") WHERE expires_at is not null;--> statement-breakpoint
CREATE UNIQUE INDEX "bots_name" ON "bots" USING btree ("name") WHERE deleted_at is null;--> statement-breakpoint
CREATE INDEX "bots_deleted" ON "bots" USING btree ("deleted_at") WHERE deleted_at is not null;--> statement-breakpoint
CREATE UNIQUE INDEX "kb_chunks_order" ON "kb_chunks" USING btree ("document_id","version","ordinal");--> statement-breakpoint
CREATE INDEX "kb_chunks_collection" ON "kb_chunks" USING btree ("collection_id");--> statement-breakpoint
CREATE INDEX "kb_chunks_terms" ON "kb_chunks" USING gin ("tsv");--> statement-breakpoint
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
CREATE INDEX "kb_vectors_changes" ON "kb_vectors" USING btree ("collection_id","model","version");--> statement-breakpoint
CREATE INDEX "kb_vectors_document" ON "kb_vectors" USING btree ("document_id");