# syntax=docker/dockerfile:1
# Mkondo as an image: `docker build -t mkondo .`. deploy/README.md describes how to run it, and what it needs from the host.
#
# You can use another base image (--build-arg BASE=...) that has npm and Node 22 (glibc >= 2.27) or 24 (glibc >= 2.38). Alpine
# does not work, because npm does not have a package of uWebSockets.js for musl. If builds must be reproducible, pin the base by
# digest.
ARG BASE=node:24-trixie-slim

FROM ${BASE} AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# Our packages do not need their install scripts: native packages contain their binaries.
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY scripts/build.mjs scripts/polyphase-rows.mjs scripts/
COPY src src
COPY examples examples
# Tests and benches are left out. Source maps are left out too, because their sources are not in the image.
RUN npm run -s build && find dist -name '*.js.map' -delete
# Installs the run-time packages, and only the one binary of uWebSockets.js that this Node can load: `uWebSockets.js` for Node
# 22, `@btc-vision/uwebsockets.js` for Node 24 (docs/adr/0023-two-packages-of-uwebsockets.md). If there is none, the import at
# the end fails the build, so that the fault does not appear at the first start.
RUN npm prune --omit=dev --ignore-scripts --no-audit --no-fund \
 && cd node_modules \
 && binary="$(node -p '`uws_${process.platform}_${process.arch}_${process.versions.modules}.node`')" \
 && if [ -e "uWebSockets.js/dist/bin/$binary" ]; then rm -rf @btc-vision; else rm -r uWebSockets.js; fi \
 && find . -name 'uws_*.node' ! -name "$binary" -delete \
 && cd /app && node -e "import('./dist/src/edge/http/uws.js').then(() => process.exit(0))"

FROM ${BASE}
LABEL org.opencontainers.image.title="Mkondo" \
      org.opencontainers.image.description="A media gateway: phone calls from Sautikit, answered by realtime voice agents" \
      org.opencontainers.image.licenses="MIT"
WORKDIR /app
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/dist dist
COPY package.json LICENSE ./
COPY agents agents
COPY schema schema
COPY scenarios scenarios
COPY templates templates
COPY docs docs
# /data is the folder for data of calls. The other folders may be read-only. A new volume gets the owner of this folder.
RUN mkdir /data && chown 10001:10001 /data
# HOST is 0.0.0.0, because a loopback address inside a container cannot be reached from outside. So SAUTIKIT_WEBHOOK_SECRETS
# must be set, or the gateway does not start.
# UV_THREADPOOL_SIZE: name look-ups share these threads, and a look-up without an answer occupies its thread for 10 to 30 s.
ENV NODE_ENV=production DATA_DIR=/data HOST=0.0.0.0 UV_THREADPOOL_SIZE=64
USER 10001:10001
VOLUME /data
EXPOSE 8080 9464
# Node is PID 1 and handles the signal itself: calls finish first. Set a long enough `docker stop --time`.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=3s --start-period=20s \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.OPS_PORT || 9464}/healthz`).then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
# OPS_HOST is a loopback address by default, as everywhere: an ops port that other machines can reach requires OPS_TOKEN.
ENTRYPOINT ["node", "dist/src/cli/main.js"]
CMD ["serve"]
