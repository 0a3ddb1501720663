# Builds the binary with the pinned Bun and puts it alone on a small base: no root, no writable file system but /data.
# docker build --build-arg COMMIT=$(git rev-parse --short HEAD) -t botserver .

# The version stands in package.json ("packageManager"); a test compares the two.
ARG BUN_VERSION=1.4.5

FROM oven/bun:${BUN_VERSION}-slim AS build
WORKDIR /build
COPY package.json bun.lock bunfig.toml ./
RUN bun install --frozen-lockfile
COPY . .
ARG COMMIT=""
RUN bun run build --commit "${COMMIT}"

FROM debian:12-slim
RUN useradd --system --uid 10001 --user-group --home-dir /data --no-create-home botserver \
  && install -d -o botserver -g botserver -m 0700 /data
COPY --from=build /build/dist/botserver /usr/local/bin/botserver
ENV NODE_ENV=production DATA_DIR=/data
USER botserver
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD ["botserver", "doctor", "--health"]
ENTRYPOINT ["botserver"]
