import t from 'tap'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { packageRoot } from '../../src/config/package-root.js'
import { whole } from '../support/gateway.js'
import { simulateOneCall } from '../support/simulated.js'

// Calls are spoken in real time.
t.setTimeout(300_000)

t.test('whatever a carrier makes of both tracks, the agent hears the caller and not himself', async (t) => {
  const agent = await readFile(join(packageRoot(), 'agents', 'order-status.yaml'), 'utf8')
  const bothTracks = agent.replace('track: inbound_track', 'track: both_tracks')
  t.not(bothTracks, agent)
  const agentsDir = t.testdir()
  await writeFile(join(agentsDir, 'order-status.yaml'), bothTracks)
  const { at, close } = await whole({ AGENTS_DIR: agentsDir, SPEECH_DECODERS: '4' })
  t.teardown(close)
  const layouts = ['mono', 'mixed', 'stereo'] as const
  const [interrupted, ...runs] = await Promise.all([
    simulateOneCall({
      ...at,
      args: ['--from', '+254700000009', '--order', '4127', '--track-layout', 'mixed', '--interrupt'],
    }),
    ...layouts.map((layout) =>
      simulateOneCall({
        ...at,
        args: ['--from', '+254700000009', '--order', '4127', '--track-layout', layout],
      }),
    ),
  ])
  for (const [i, run] of runs.entries()) {
    t.equal(run.code, 0, `${layouts[i]}: ${run.calls[0]?.goal.why ?? run.output}`)
    t.same(run.calls[0]?.bargeIns, [], `${layouts[i]}: nobody interrupted the agent`)
  }
  t.equal(interrupted?.code, 0, `mixed, interrupted: ${interrupted?.calls[0]?.goal.why ?? interrupted?.output}`)
  t.match(interrupted?.calls[0]?.bargeIns, [{ committed: true }], "one interruption, the caller's")
  t.equal(interrupted?.calls[0]?.bargeIns.length, 1)
})
