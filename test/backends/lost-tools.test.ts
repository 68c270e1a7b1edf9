import t from 'tap'
import { Conversation } from '../../src/backends/cascade/conversation.js'
import { conformanceSession } from '../../src/backends/conformance/harness.js'
import { historyOf } from '../../src/backends/gemini-live/setup.js'
import { replayItems } from '../../src/backends/openai-realtime/session-config.js'
import { recapText } from '../../src/backends/prompts.js'
import { resumedTools } from '../../src/call/tool-ledger.js'
import { Rig } from '../call/rig.js'

t.test('a tool that ran when its worker or node died is uncertain for every model, in words', async (t) => {
  const before = Rig.talking()
  before.toolCall('t1', 'refund', { order: 5 })
  const session = conformanceSession({ toolLedger: resumedTools(before.resume) })
  const told = {
    'openai-realtime': replayItems(session),
    'gemini-live': historyOf(session),
    cascade: new Conversation(session).request().messages,
    'a standby': recapText([], session.toolLedger),
  }
  for (const [backend, words] of Object.entries(told)) {
    const text = JSON.stringify(words)
    t.match(text, /refund/, backend)
    t.match(text, /unknown whether it took effect: say neither .* do not repeat it, and offer a human/, backend)
  }
})
