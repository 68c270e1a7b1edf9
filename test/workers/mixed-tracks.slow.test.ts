import t from 'tap'
import { whole } from '../support/gateway.js'
import { simulateOneCall } from '../support/simulated.js'

// Calls are spoken in real time.
t.setTimeout(300_000)

// Other layouts, and callers who do not interrupt: test/media/echo.test.ts and channel-layout.test.ts.
t.test('whatever a carrier makes of both tracks, the agent hears the caller and not himself', async (t) => {
  const { at, close } = await whole({ SPEECH_DECODERS: '2' }, (yaml) => {
    const bothTracks = yaml.replace('track: inbound_track', 'track: both_tracks')
    t.not(bothTracks, yaml)
    return bothTracks
  })
  t.teardown(close)
  const call = (...args: readonly string[]) =>
    simulateOneCall({ ...at, args: ['--from', '+254700000009', '--order', '4127', '--track-layout', ...args] })
  const [interrupted, stereo] = await Promise.all([call('mixed', '--interrupt'), call('stereo')])
  t.equal(stereo.code, 0, `stereo: ${stereo.calls[0]?.goal.why ?? stereo.output}`)
  t.same(stereo.calls[0]?.bargeIns, [], 'stereo: nobody interrupted the agent')
  t.equal(interrupted.code, 0, `mixed, interrupted: ${interrupted.calls[0]?.goal.why ?? interrupted.output}`)
  t.match(interrupted.calls[0]?.bargeIns, [{ committed: true }], "one interruption, the caller's")
  t.equal(interrupted.calls[0]?.bargeIns.length, 1)
})
