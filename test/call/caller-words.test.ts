import t from 'tap'
import { Rig } from './rig.js'

t.test(
  "digits have the time in the transcript at which they were pressed, not that of the caller's last words",
  async (t) => {
    const rig = Rig.talking()
    rig.speak(600)
    rig.run(1000)
    rig.heardWords('my account please', 'c1')
    const spokeMs = rig.session.log.transcript.at(-1)?.startMs ?? NaN
    rig.answer(2, 'a2', 500)
    rig.run(3000)
    rig.heardWords('7386', 'c2')
    const [spoken, keyed] = rig.session.log.transcript.filter(({ role }) => role === 'caller')
    t.match(spoken, { text: 'my account please', startMs: spokeMs })
    t.ok(
      (keyed?.startMs ?? 0) > (spoken?.endMs ?? Infinity) + 2500,
      `${keyed?.startMs ?? 0} after ${spoken?.endMs ?? 0}`,
    )
  },
)
