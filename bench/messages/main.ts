import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { until } from '../../test/support/until.js'
import { Target, measuredColumns } from '../flood/main.js'
import type { Measured } from '../flood/main.js'
import { judged } from '../kit/command.js'
import { columns } from '../terminal.js'

const HELP = `npm run bench -- --messages [--calls N] [--seconds S] [--rounds N] [--json FILE]
  1,000 calls a minute end at a gateway that tells two receivers of each, one of which is down, and live calls go on beside them:
  the frames that callers still get, the longest time without one, and signed webhooks, beside a gateway with the same calls and
  no receiver. About 3 minutes.
  --calls N    live calls (default 8)
  --seconds S  of each run (default 30)
  --rounds N   each a run without receivers and one with them (default 2)
  --json FILE  where results go (default bench/results/)`

/** 1,000 a minute. */
const ENDS_EACH_MS = 60
/** Maximum differences of a run to its control: additional share of lost frames, and additional times in ms. */
const FRAMES_LOST_MORE_MAX = 0.005
const GAP_MORE_MS_MAX = 40
const WEBHOOK_MORE_MS_MAX = 50
/** Share of ended calls whose message arrived at the other receiver. */
const TOLD_MIN = 0.99
const TOLD_WAIT_MS = 15_000

interface Row extends Measured {
  readonly what: 'no receiver' | 'one of two is down'
  /** Calls whose message arrived at the receiver that works. */
  readonly told: number
  readonly missed: readonly string[]
}

/** Number of live calls besides the calls that end. */
export const messagesBench = judged(
  'messages',
  HELP,
  {},
  { calls: [8, 1, 100], seconds: [30, 5, 600], rounds: [2, 1, 20] },
  async ({ calls, seconds, rounds }, { say, show }) => {
    const rows: Row[] = []
    for (let round = 0; round < rounds; round++) {
      show('no receiver')
      const control = await measured(calls, seconds, null)
      rows.push({ what: 'no receiver', ...control, missed: [] })
      show('one of two receivers is down')
      const run = await measured(calls, seconds, await startReceiver())
      rows.push({ what: 'one of two is down', ...run, missed: missesOf(run, control) })
      for (const { what, framesKept, gapMs } of rows.slice(-2))
        say(`${what}: ${(framesKept * 100).toFixed(1)} %, gap ${gapMs.toFixed(0)} ms`)
    }
    const lines = [
      `\n${calls} live calls whose agents speak all the time, ${seconds} s a run, 1,000 calls a minute that end`,
      ...columns(
        rows,
        ['run', ({ what }) => what],
        ['ended calls', ({ newCalls }) => newCalls.opened],
        ['told', ({ told }) => told],
        ...measuredColumns(),
        ['RSS MB', ({ rssMb }) => rssMb],
      ),
      ...rows.flatMap(({ missed }) => missed.map((what) => `NOT MET: ${what}`)),
    ]
    return { ok: rows.every(({ missed }) => missed.length === 0), lines, results: { calls, seconds, rows } }
  },
)

interface CountingReceiver {
  readonly url: string
  readonly ids: ReadonlySet<string>
  close(): void
}

async function startReceiver(): Promise<CountingReceiver> {
  const ids = new Set<string>()
  const server = createServer((request, response) => {
    request.resume()
    request.on('end', () => {
      ids.add(String(request.headers['webhook-id']))
      response.end()
    })
  })
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    ids,
    close: () => {
      server.closeAllConnections()
      server.close()
    },
  }
}

/** @param receiver receiver that works; null if the gateway sends no messages */
async function measured(
  calls: number,
  seconds: number,
  receiver: CountingReceiver | null,
): Promise<Measured & { readonly told: number }> {
  const folder = mkdtempSync(join(tmpdir(), 'mkondo-messages-'))
  const file = join(folder, 'messages.yaml')
  // URL without a listener: port 9.
  const down = `{ name: down, url: 'http://127.0.0.1:9/', unsigned: true }`
  writeFileSync(
    file,
    `receivers: [{ name: up, url: '${receiver?.url ?? ''}', unsigned: true, events: [call.ended] }, ${down}]\n`,
  )
  const target = await Target.start(undefined, {
    KEEP_CALLS: 'true',
    MAX_CALLS: '400',
    ...(receiver === null ? {} : { MESSAGES_FILE: file }),
  })
  try {
    await target.ring(calls)
    const run = await target.measure(seconds, ENDS_EACH_MS)
    const told = (): number => receiver?.ids.size ?? 0
    if (receiver !== null)
      await until(() => told() >= run.newCalls.opened, TOLD_WAIT_MS, 'the messages').catch(() => undefined)
    return { ...run, told: told() }
  } finally {
    await target.stop()
    receiver?.close()
    rmSync(folder, { recursive: true, force: true })
  }
}

function missesOf(run: Measured & { readonly told: number }, control: Measured): readonly string[] {
  const { framesKept, gapMs, webhooks, newCalls, told } = run
  const p99MoreMs = webhooks.p99Ms - control.webhooks.p99Ms
  return [
    ...(control.framesKept - framesKept > FRAMES_LOST_MORE_MAX
      ? [`${(framesKept * 100).toFixed(1)} % of frames, ${(control.framesKept * 100).toFixed(1)} % without receivers`]
      : []),
    ...(gapMs - control.gapMs > GAP_MORE_MS_MAX
      ? [`a gap of ${gapMs.toFixed(0)} ms, ${control.gapMs.toFixed(0)} ms without receivers`]
      : []),
    ...(p99MoreMs > WEBHOOK_MORE_MS_MAX ? [`webhooks took ${p99MoreMs.toFixed(0)} ms more at p99`] : []),
    ...(told < newCalls.opened * TOLD_MIN ? [`${told} of ${newCalls.opened} calls were told`] : []),
  ]
}
