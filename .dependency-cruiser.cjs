// The rooms of docs/ARCHITECTURE.md: each may import only from rooms printed before it in this list.
const rooms = ['core', 'media', 'sautikit', 'call', 'telemetry', 'agents', 'backends', 'sautikit-api',
  'fleet', 'shard', 'edge', 'simulator', 'config', 'cli']
const PURE = '^src/(core|media|sautikit|call)/'
// npm packages that do no I/O and that a pure room may use.
const PURE_PACKAGES = 'node_modules/(xmlbuilder2|lru-cache|diff)/'

module.exports = {
  forbidden: [
    { name: 'no-circular', severity: 'error', from: {}, to: { circular: true } },
    ...rooms.slice(0, -1).map((room, i) => ({
      name: `${room}-imports-from-rooms-above-only`,
      severity: 'error',
      from: { path: `^src/${room}/` },
      to: { path: `^src/(${rooms.slice(i + 1).join('|')})/` },
    })),
    {
      name: 'pure-rooms-do-no-io',
      severity: 'error',
      from: { path: PURE, pathNot: '^src/sautikit/(signature|token)\\.ts$' },
      to: { dependencyTypes: ['core', 'npm', 'npm-dev', 'npm-optional', 'npm-peer', 'npm-no-pkg', 'npm-unknown'], pathNot: PURE_PACKAGES },
    },
    {
      name: 'signature-and-token-use-crypto-only',
      severity: 'error',
      from: { path: '^src/sautikit/(signature|token)\\.ts$' },
      to: { dependencyTypes: ['core', 'npm'], pathNot: '^(node:)?crypto$' },
    },
    { name: 'edge-speaks-through-shard', severity: 'error', from: { path: '^src/edge/' }, to: { path: '^src/(agents|backends)/' } },
    {
      name: 'one-file-imports-uws',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/edge/uws\\.ts$' },
      to: { path: 'uWebSockets\\.js|uws-pack' },
    },
    { name: 'tests-are-not-imported', severity: 'error', from: { path: '^src' }, to: { path: '^(test|bench)/' } },
    { name: 'resolvable', severity: 'error', from: { path: '^src' }, to: { couldNotResolve: true } },
  ],
  options: {
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    doNotFollow: { path: 'node_modules' },
    enhancedResolveOptions: { extensions: ['.ts', '.js'], exportsFields: ['exports'], conditionNames: ['import', 'node', 'default', 'types'] },
  },
}
