# syntax=docker/dockerfile:1
# Mkondo as an image: `docker build -t mkondo .`; how to run it, and what it needs of the host, is in deploy/README.md.
#
# The base can be swapped (--build-arg BASE=...) for any image with npm and Node 22 (glibc >= 2.27) or 24 (glibc >= 2.38):
# the packages of uWebSockets.js that npm has are not built for musl, so Alpine will not do. Pin it by digest where builds
# must repeat.
ARG BASE=node:24-trixie-slim

FROM ${BASE} AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# No package of ours needs its install script: native ones bring their binaries.
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY scripts/build.mjs scripts/polyphase-rows.mjs scripts/
COPY src src
COPY examples examples
# Tests and benches stay outside, and source maps would point at sources that are not in the image.
RUN npm run -s build && find dist -name '*.js.map' -delete
# Packages that run, and of uWebSockets.js the one binary that this Node can load, from the package that has it: the lock's
# for Node 22, this one for Node 24 (docs/adr/0023-two-packages-of-uwebsockets.md). The import at the end
# fails the build, and not the first start, when there is none.
ARG UWS=@btc-vision/uwebsockets.js@20.57.0
ARG UWS_INTEGRITY=sha512-SuPpEjSKZ7P58L/27BXXsrGsMwLmPupfYny8oJsOmFZ4+zX7Ca97nBPtZ3ngKbfeDZzTyi7rXri74INGerhugg==
RUN npm install --no-save --omit=dev --ignore-scripts --no-audit --no-fund "$UWS" \
 && grep -qF "\"integrity\": \"$UWS_INTEGRITY\"" node_modules/.package-lock.json \
 && cd node_modules \
 && binary="$(node -p '`uws_${process.platform}_${process.arch}_${process.versions.modules}.node`')" \
 && if [ -e "uWebSockets.js/dist/bin/$binary" ]; then rm -r @btc-vision; else rm -r uWebSockets.js; fi \
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
# What is kept of calls; the rest of the file system may be read-only. The folder's owner is what a new volume gets.
RUN mkdir /data && chown 10001:10001 /data
# HOST: a loopback address inside a container is nobody's. So SAUTIKIT_WEBHOOK_SECRETS must be set, or the start is refused.
# UV_THREADPOOL_SIZE: look-ups of names share these threads, and one without an answer holds its thread for 10 to 30 s.
ENV NODE_ENV=production DATA_DIR=/data HOST=0.0.0.0 UV_THREADPOOL_SIZE=64
USER 10001:10001
VOLUME /data
EXPOSE 8080 9464
# Node is PID 1 and handles the signal itself: calls finish first. Give it time: `docker stop --time`.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=3s --start-period=20s \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.OPS_PORT || 9464}/healthz`).then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
# OPS_HOST stays loopback here, like everywhere: an ops port that others reach wants an OPS_TOKEN with it.
ENTRYPOINT ["node", "dist/src/cli/main.js"]
CMD ["serve"]
