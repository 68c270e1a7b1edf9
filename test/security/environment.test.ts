import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { endsWith, mkondo, takesCalls } from '../cli/mkondo-process.js'
import { get } from '../edge/gateway.js'
import { freePorts } from '../support/free-ports.js'
import { reexport } from '../support/module-beside.js'
import { until } from '../support/until.js'

/** What a gateway starts finds no secret: neither in its own environment nor in `/proc` of those that have started it. */

const MARK = 'must-not-be-seen'
const TOKEN = `${MARK}-of-operators`
const PROBE = fileURLToPath(new URL('../agents/mcp-environ-probe.js', import.meta.url))
const onLinux = { skip: process.platform === 'linux' ? false : 'there is a /proc to look at on Linux only' }

for (const processes of [1, 2])
  t.test(`${processes} processes find no secret in their parents`, onLinux, async (t) => {
    const folder = t.testdirName
    const found = join(folder, 'found')
    t.testdir({
      found: '',
      agents: {
        'tone.mjs': reexport(new URL('../support/tone-backend.js', import.meta.url)),
        'a.yaml': JSON.stringify({
          ...{ version: 1, name: 'a', instructions: 'Speak.', backend: 'module:./tone.mjs' },
          mcp: [
            {
              name: 'x',
              command: [process.execPath, PROBE, found],
              env: { STOP_AT: String(process.pid) },
              tools: ['y'],
            },
          ],
        }),
      },
    })
    const run = mkondo(['serve', '--processes', String(processes)], {
      ...{
        HOST: '127.0.0.1',
        PORT: String(processes === 1 ? 0 : await freePorts(4)),
        OPS_PORT: '0',
        DATA_DIR: join(folder, 'data'),
        MEDIA_WORKERS: String(processes),
      },
      ...{ AGENTS_DIR: join(folder, 'agents'), OPS_TOKEN: TOKEN, OPENAI_API_KEY: `${MARK}-key` },
      ...{ SAUTIKIT_WEBHOOK_SECRETS: `${MARK}-webhooks`, AWS_SECRET_ACCESS_KEY: `${MARK}-cloud` },
    })
    endsWith(t, run)
    const { ops_port } = await takesCalls(run)
    const headers = { authorization: `Bearer ${TOKEN}` }
    t.equal(
      (await get(`http://127.0.0.1:${ops_port}/api/agents`, { headers })).status,
      200,
      'its settings are read all the same',
    )
    const seen = (): string => readFileSync(found, 'latin1')
    await until(() => seen().includes('END'), 60_000, 'the server')
    t.match(seen(), '"STOP_AT"', 'its own environment')
    t.notMatch(seen(), MARK)
    run.child.kill('SIGTERM')
    t.equal(await run.exit, 0)
  })
