# The image of Gatehouse: gateway and job are one.
#   docker build -t gatehouse .
#   docker build -t gatehouse --build-arg BROWSER=playwright .    with Chromium, and the MCP server that drives it
# docs/how-to/run-the-image.md says what is in it and how it runs. Bases are pinned by digest; a mirror of them is
# named the same way.
ARG BUILD_BASE=rust:1.95.0-bookworm@sha256:6258907abe69656e41cd992e0b705cdcfabcbbe3db374f92ed2d47121282d4a1
ARG NODE_BASE=node:24-bookworm-slim@sha256:ba849c60be29959425b8734d57b8b4b7d56f98edd9504c9af091d5281095a71e
ARG RUNTIME_BASE=debian:bookworm-slim@sha256:88200866dfff7ea7f5cbcb6ec7c8a701889efe6fe859fe64d6990e4b07ea4171
# none | playwright
ARG BROWSER=none

# --- The plugins. Built apart: they change for other reasons than the host does.
FROM ${BUILD_BASE} AS plugins
WORKDIR /src
COPY wit wit
COPY plugins plugins
COPY scripts/build-plugins.sh scripts/
# Caches are one for all that is built on a machine, and cargo goes by the age of files: what is ours is always newer.
# One registry for each stage: they are built side by side, and cargo's own lock is not in there.
RUN --mount=type=cache,id=gatehouse-registry-plugins,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,id=gatehouse-plugins,target=/src/plugins/target,sharing=locked \
    find . -path ./plugins/target -prune -o -type f -exec touch {} + \
    && ./scripts/build-plugins.sh \
    && install -D --mode=644 --target-directory=/out plugins/manifest.toml \
    && install -D --mode=644 --target-directory=/out/dist plugins/dist/*.wasm

# --- The binary, and what it is made of.
FROM ${BUILD_BASE} AS host
WORKDIR /src
COPY . .
# release, or dev, which is built in a tenth of the time.
ARG PROFILE=release
ARG PACKAGES="--package gatehouse"
RUN --mount=type=cache,id=gatehouse-registry-host,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,id=gatehouse-target,target=/src/target,sharing=locked \
    find . -path ./target -prune -o -type f -exec touch {} + \
    && cargo build --locked --profile "$PROFILE" $PACKAGES --features gatehouse/gcp --bin gatehouse \
    && install -D --strip "target/$(echo "$PROFILE" | sed s/^dev$/debug/)/gatehouse" /out/gatehouse \
    && cargo tree --locked --package gatehouse --features gatehouse/gcp --edges normal --prefix none --format '{p}|{l}' >/out/tree \
    && cargo tree --locked --manifest-path plugins/Cargo.toml --workspace --edges normal --prefix none --format '{p}|{l}' >>/out/tree \
    && sed -n 's/^\([^ ]*\) v\([^ |]*\)[^|]*|\(.*\)$/cargo|\1|\2|\3/p' /out/tree >/out/crates

# --- The Claude Code CLI as it is pinned, and the browser's MCP server.
FROM ${NODE_BASE} AS node
WORKDIR /cli
COPY scripts/cli/package.json scripts/cli/package-lock.json ./
COPY deploy/image/packages.mjs /
# The platform's package holds one binary, which needs no Node; that for musl comes along and stays behind.
RUN --mount=type=cache,id=gatehouse-npm,target=/root/.npm \
    npm ci --ignore-scripts --no-audit --no-fund --loglevel=error \
    && install -D --target-directory=/out "$(ls node_modules/@anthropic-ai/claude-code-linux-*/claude | grep -v musl | head -n 1)" \
    && node /packages.mjs node_modules >/out/packages

# Empty but for the one with a browser.
FROM node AS browser
ARG BROWSER
WORKDIR /browser/opt/playwright
COPY deploy/image/playwright/ ./
RUN --mount=type=cache,id=gatehouse-npm,target=/root/.npm \
    case "$BROWSER" in \
    none) rm -r /browser && mkdir /browser ;; \
    playwright) npm ci --ignore-scripts --no-audit --no-fund --loglevel=error \
        && node /packages.mjs node_modules >packages \
        && echo "generic|node|$(node --version | tr -d v)|MIT" >>packages \
        && install -D --target-directory=/browser/usr/local/bin playwright-mcp "$(readlink -f "$(command -v node)")" \
        && rm playwright-mcp ;; \
    *) echo "BROWSER is '$BROWSER': expected none or playwright" >&2; exit 1 ;; \
    esac

# --- What tasks find: git and what it needs, a search, a client for HTTP.
FROM ${RUNTIME_BASE} AS system
ARG BROWSER
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
        ca-certificates curl git git-lfs openssh-client procps ripgrep tini \
        $(test "$BROWSER" = none || echo chromium fonts-liberation) \
    && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/*
# Two kinds of users that nothing joins. serveruser serves where no agent runs. Agents are claudeuser, each of those
# that run at once with an id of its own, and a name, because ssh and others want one.
RUN useradd --uid 1001 --user-group --home-dir /var/lib/gatehouse --no-create-home --shell /usr/sbin/nologin serveruser \
    && for number in '' $(seq 63); do \
        echo "claudeuser$number:x:$((64000 + number)):$((64000 + number))::/nonexistent:/bin/bash" >>/etc/passwd \
        && echo "claudeuser$number:x:$((64000 + number)):" >>/etc/group || exit 1; \
    done \
    && install -d --mode=711 --owner=serveruser --group=serveruser /var/lib/gatehouse

COPY --from=browser /browser /

# --- Everything that is in it, by name, version and licence (CycloneDX).
FROM system AS contents
COPY --from=host /out/crates /contents/
COPY --from=node /out/packages /contents/
COPY deploy/image/contents.sh /
RUN bash /contents.sh >/contents.cdx.json

# --- The plugins, compiled for any processor of this architecture: jobs start on an empty disk.
FROM system AS compiled
COPY --from=host /out/gatehouse /usr/local/bin/
COPY --from=plugins /out /opt/gatehouse/plugins
RUN gatehouse plugin compile --into /out /opt/gatehouse/plugins/dist/*.wasm \
    && GATEHOUSE_PLUGINS=/opt/gatehouse/plugins/manifest.toml gatehouse plugin verify

FROM system
ARG REVISION=unknown
LABEL org.opencontainers.image.title=Gatehouse \
    org.opencontainers.image.description="A gateway that runs coding-agent tasks" \
    org.opencontainers.image.licenses=Apache-2.0 \
    org.opencontainers.image.revision=${REVISION}
COPY --from=node /out/claude /usr/local/bin/claude
COPY --from=plugins /out /opt/gatehouse/plugins
COPY --from=compiled /out /opt/gatehouse/compiled
COPY --from=contents /contents.cdx.json /opt/gatehouse/
COPY --from=host /out/gatehouse /usr/local/bin/gatehouse
# Without HOME an engine takes root's, which serveruser may not look into, as Google's libraries do for credentials. And
# fail closed: whoever wants agents that run as the gateway does has to say so.
ENV HOME=/var/lib/gatehouse \
    GATEHOUSE_DATA_DIR=/var/lib/gatehouse \
    GATEHOUSE_LISTEN=0.0.0.0 \
    GATEHOUSE_PLUGINS=/opt/gatehouse/plugins/manifest.toml \
    GATEHOUSE_CLAUDE_BIN=/usr/local/bin/claude \
    GATEHOUSE__PLUGINS__COMPILED=/opt/gatehouse/compiled \
    GATEHOUSE__ISOLATION__MINIMUM=uid \
    GATEHOUSE__SERVER__USER=serveruser \
    GATEHOUSE__ISOLATION__ACCOUNT=claudeuser
VOLUME /var/lib/gatehouse
WORKDIR /var/lib/gatehouse
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s \
    CMD curl --fail --silent --noproxy "*" --output /dev/null "http://127.0.0.1:${PORT:-8080}/health"
# Agents leave processes behind that nobody waits for.
ENTRYPOINT ["tini", "--", "gatehouse"]
CMD ["serve"]
