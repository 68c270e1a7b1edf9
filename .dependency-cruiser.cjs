const faces = require('./scripts/faces.cjs')

// The layers of docs/ARCHITECTURE.md: each may import only from layers printed before it in this list.
const layers = [
  'core',
  'media',
  'sautikit',
  'call',
  'escalation',
  'system',
  'telemetry',
  'http',
  'messages',
  'speech',
  'vendors',
  'agents',
  'backends',
  'sautikit-api',
  'workers',
  'fleet',
  'campaigns',
  'edge',
  'config',
  'carrier',
  'exchange',
  'simulator',
  'gateway',
  'cli',
  'console',
]
// A vendor's folder has files of three kinds; each obeys the law of the layer where its kind is needed.
const VENDOR_FACTS = '^src/vendors/([^/]+|[^/]+/(facts|options))\\.ts$'
const VENDOR_DOUBLES = '^src/vendors/.*double\\.ts$'
const VENDOR_CODE = '^src/vendors/[^/]+/(?!(facts|options)\\.ts$)(?!.*double\\.ts$)'
/** The files of a layer. */
const filesOf = (layer) =>
  ({
    vendors: [VENDOR_FACTS],
    backends: ['^src/backends/', VENDOR_CODE],
    simulator: ['^src/simulator/', VENDOR_DOUBLES],
  })[layer] ?? [`^src/${layer}/`]

const PURE = '^src/(core|media|sautikit|call|escalation)/'
// npm packages that do no I/O and that a pure layer may use.
/** Pure files that hash. */
const HASHING = '^src/(sautikit/(signature|token)|call/owner)\\.ts$'
const PURE_PACKAGES = 'node_modules/(lru-cache|diff|zod|libphonenumber-js|lossless-json)/'

/** Rules for a folder whose files know none of each other: only the file that lists them imports them. */
const listed = (what, folder, list) => [
  { name: `${what}-know-none-of-them`, severity: 'error', from: { path: folder }, to: { path: folder } },
  {
    name: `only-their-list-knows-${what}`,
    severity: 'error',
    from: { path: '^src/', pathNot: list },
    to: { path: folder },
  },
]

module.exports = {
  forbidden: [
    // An import of a type counts too.
    { name: 'no-circular', severity: 'error', from: {}, to: { circular: true } },
    // The kernel puts a call together; features know it as a type (ADR 0029).
    {
      name: 'the-kernel-is-known-as-a-type',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/call/call-session\\.ts$' },
      to: { path: '^src/call/call-kernel\\.ts$', dependencyTypesNot: ['type-only'] },
    },
    ...listed('features', '^src/call/features/', '^src/call/call-session\\.ts$'),
    ...layers.slice(0, -1).map((layer, i) => ({
      name: `${layer}-imports-from-layers-above-only`,
      severity: 'error',
      from: { path: filesOf(layer) },
      to: { path: layers.slice(i + 1).flatMap(filesOf) },
    })),
    // A room is entered by its face.
    ...Object.entries(faces).map(([room, files]) => ({
      name: `${room}-is-entered-by-its-face`,
      severity: 'error',
      from: { path: '^src/', pathNot: `^src/${room}/` },
      to: { path: `^src/${room}/`, pathNot: `^src/${room}/(${files.join('|')})\\.tsx?$` },
    })),
    {
      name: 'pure-layers-do-no-io',
      severity: 'error',
      from: { path: PURE, pathNot: HASHING },
      to: {
        dependencyTypes: ['core', 'npm', 'npm-dev', 'npm-optional', 'npm-peer', 'npm-no-pkg', 'npm-unknown'],
        pathNot: PURE_PACKAGES,
      },
    },
    {
      name: 'hashing-files-use-crypto-only',
      severity: 'error',
      from: { path: HASHING },
      to: { dependencyTypes: ['core', 'npm'], pathNot: '^(node:)?crypto$' },
    },
    {
      // The same mistake on both sides of the protocol would hide itself.
      name: 'carrier-shares-no-protocol-code',
      severity: 'error',
      from: { path: '^src/carrier/' },
      to: { path: '^src/(?!(carrier|core|media|speech|system)/)' },
    },
    {
      name: 'gateway-runs-without-the-simulator',
      severity: 'error',
      from: { path: '^src/gateway/' },
      to: { path: filesOf('simulator') },
    },
    // Only their list knows vendors, and they know none of each other: but all of them the dialect that many servers speak.
    {
      name: 'vendors-know-none-of-them',
      severity: 'error',
      from: { path: '^src/vendors/([^/]+)/' },
      to: { path: '^src/vendors/[^/]+/', pathNot: '^src/vendors/($1|self-hosted)/' },
    },
    {
      name: 'vendors-are-known-by-their-list',
      severity: 'error',
      from: {
        path: '^src/',
        pathNot: '^src/vendors/',
      },
      to: { path: '^src/vendors/[^/]+/', pathNot: '^src/vendors/self-hosted/' },
    },
    // A call's two halves meet in shared memory and messages alone.
    ...[
      ['main', 'worker'],
      ['worker', 'main'],
      ['shared', '(main|worker)'],
    ].map(([from, to]) => ({
      name: `workers-${from}-imports-nothing-of-${to.replace(/\W+/g, '-').replace(/^-|-$/g, '')}`,
      severity: 'error',
      from: { path: `^src/workers/${from}/` },
      to: { path: `^src/workers/${to}/` },
    })),
    ...listed(
      'parts-of-a-call',
      '^src/workers/(main/call|worker)/parts/',
      '^src/workers/(main/call/main|worker/worker)-parts\\.ts$',
    ),
    {
      name: 'edge-speaks-through-workers',
      severity: 'error',
      from: { path: '^src/edge/' },
      to: { path: '^src/(agents|backends|vendors)/' },
    },
    {
      name: 'one-file-imports-uws',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/edge/http/uws\\.ts$' },
      to: { path: 'uWebSockets\\.js|uws-pack' },
    },
    {
      name: 'console-imports-types-only',
      severity: 'error',
      from: { path: '^src/console/' },
      // The steps of a turn are computed by one file, which imports types only.
      to: { path: '^src/(?!console/|call/why/turn-steps\\.ts$)', dependencyTypesNot: ['type-only'] },
    },
    { name: 'tests-are-not-imported', severity: 'error', from: { path: '^src' }, to: { path: '^(test|bench)/' } },
    { name: 'resolvable', severity: 'error', from: { path: '^src' }, to: { couldNotResolve: true } },
  ],
  options: {
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    doNotFollow: { path: 'node_modules' },
    enhancedResolveOptions: {
      extensions: ['.ts', '.tsx', '.d.ts', '.js'],
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default', 'types'],
    },
  },
}
