# The base can be swapped (--build-arg BASE=...) but must be glibc >= 2.27: the uWebSockets.js binary is not built for musl.
ARG BASE=node:20-bookworm-slim

FROM ${BASE} AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --no-audit --no-fund
COPY tsconfig.json ./
COPY scripts scripts
COPY src src
COPY test test
COPY bench bench
COPY examples examples
RUN npm run -s build && rm -rf dist/test dist/bench
# Production packages only, and of the uWebSockets.js binaries (133 MB for all platforms) only those for this one.
RUN npm prune --omit=dev --no-audit --no-fund \
 && cd node_modules/uWebSockets.js/dist \
 && find . -name 'uws_*.node' ! -name "uws_linux_$(node -p process.arch)_*.node" -delete

FROM ${BASE}
ENV NODE_ENV=production OPS_HOST=0.0.0.0 DATA_DIR=/data
WORKDIR /app
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/dist dist
COPY package.json ./
COPY agents agents
COPY schema schema
RUN mkdir -p /data && chown 10001:10001 /data
USER 10001
EXPOSE 8080 9464
VOLUME /data
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=2s --start-period=10s \
  CMD ["node", "-e", "fetch('http://127.0.0.1:'+(process.env.OPS_PORT||9464)+'/healthz').then(r=>process.exit(r.ok?0:1),()=>process.exit(1))"]
ENTRYPOINT ["node", "dist/src/cli/main.js"]
CMD ["serve"]
