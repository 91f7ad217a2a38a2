# syntax=docker/dockerfile:1

# The server, and the clients that it hands out. Needs BuildKit, which is Docker's default.
#
#   docker build -t secret-gate-server .
#   docker buildx build --platform linux/amd64,linux/arm64 -t secret-gate-server .
#
# All programs are static (musl) and made on the builder's own platform, whatever they are for: zig brings a C compiler
# and a linker for both, which a few assembler files need. Clients for darwin can't be made here; the release has them.

FROM --platform=$BUILDPLATFORM rust:1.95-slim-bookworm AS build
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/zig \
    && /opt/zig/bin/pip install --no-cache-dir cargo-zigbuild==0.24.0 ziglang==0.17.1 \
    && rustup target add x86_64-unknown-linux-musl aarch64-unknown-linux-musl
ENV PATH=/opt/zig/bin:$PATH
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    mkdir -p /out/clients \
    && for made in x86_64:amd64 aarch64:arm64; do \
        target="${made%:*}-unknown-linux-musl"; arch="${made#*:}"; \
        cargo zigbuild --release --locked --target "$target" -p secret-gate-server -p secret-gate-cli --bins || exit 1; \
        install -m 755 "target/$target/release/secret-gate-server" "/out/secret-gate-server-$arch"; \
        install -m 755 "target/$target/release/secret-gate" "/out/clients/client-linux-$arch"; \
    done
# What new volumes begin with: a file of keys in which there is none, so that nobody may ask, and room for the audit log.
RUN install -d -m 700 /out/state/keys /out/state/audit && install -m 600 /dev/null /out/state/keys/keys

FROM gcr.io/distroless/static-debian12:nonroot
ARG TARGETARCH
LABEL org.opencontainers.image.source="https://github.com/secret-gate/secret-gate" \
      org.opencontainers.image.description="A human approves on Telegram, a secret is read from 1Password Connect and released, once" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /out/secret-gate-server-${TARGETARCH} /usr/local/bin/secret-gate-server
COPY --from=build /out/clients /app/clients
COPY --from=build --chown=65532:65532 /out/state /var/lib/secret-gate
COPY LICENSE /usr/share/doc/secret-gate/LICENSE
USER 65532:65532
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=12s --start-period=10s --retries=3 \
    CMD ["/usr/local/bin/secret-gate-server", "health"]
ENTRYPOINT ["/usr/local/bin/secret-gate-server"]
