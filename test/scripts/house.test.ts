import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import t from 'tap'
import { packageRoot } from '../../src/config/package-root.js'

t.test('house.mjs shows the largest class and function', async (t) => {
  const lines = (count: number, text: string): string => `${text}\n`.repeat(count)
  const cwd = t.testdir({
    src: {
      cli: {
        serve: { 'serve.ts': "import { a } from './a.js'\nimport type { B } from './b.js'\n", 'a.ts': lines(10, '//') },
      },
      gateway: { 'gateway.ts': `import { type B } from '../cli/serve/b.js'\n${lines(70, '//')}class Late {\n}\n` },
      unread: { 'c.ts': `class Large {\n${lines(899, '//')}}\nfunction long() {\n${lines(149, '//')}}\n` },
    },
  })
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(packageRoot(), 'scripts/house.mjs')], {
    cwd,
    encoding: 'utf8',
  })
  t.equal(status, 0, stderr)
  t.match(stdout, 'largest class, lines: 901 (aim: at most 900)\n     901  Large  src/unread/c.ts:1\n')
  t.match(stdout, 'largest function, lines: 151 (aim: at most 150)\n     151  long  src/unread/c.ts:902\n')
  t.match(stdout, 'lines that serve reaches by value imports: 85 (aim: at most 70,000), 3 files\n')
  t.match(stdout, 'files whose first class starts below line 60: 1\n      72  Late  src/gateway/gateway.ts\n')
})

t.test('every public file of a module is imported by another', async (t) => {
  const { stdout } = spawnSync(process.execPath, [join(packageRoot(), 'scripts/house.mjs'), '--faces'], {
    cwd: packageRoot(),
    encoding: 'utf8',
  })
  t.match(stdout, /^ {2}agents: \d+ of \d+ files, \d+ names$/m)
  t.match(stdout, /^ {4}src\/agents\/file\/loader\.ts: .*\breadAgents\b/m)
  t.notMatch(stdout, /its face has files/)
})

t.test('a call part with four injected functions is listed', async (t) => {
  const cwd = t.testdir({
    'tsconfig.json': '{}',
    src: {
      cli: { serve: { 'serve.ts': 'export {}\n' } },
      gateway: { 'gateway.ts': 'class Gateway {}\nfunction start() {}\n' },
      workers: {
        worker: {
          'worker-call.ts':
            "import { Wide } from './parts/wide.js'\nexport class WorkerCall {\n  constructor() {}\n}\n",
          parts: {
            'narrow.ts':
              'export class Narrow implements WorkerPart {\n  constructor(door: { a(): void }, of: { b: number }) {}\n}\n',
            'wide.ts':
              'export class Wide implements WorkerPart {\n  constructor(door: { a(): void; b(): void; c(): void }, d: () => void) {}\n}\n',
          },
        },
      },
    },
  })
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(packageRoot(), 'scripts/house.mjs')], {
    cwd,
    encoding: 'utf8',
  })
  t.equal(status, 0, stderr)
  t.match(
    stdout,
    'WorkerCall: 1 imports, 1 of parts; its constructor has 1 lines; 2 parts, each handed at most 4 functions (aim: at most 3: Wide 4)\n',
  )
})
