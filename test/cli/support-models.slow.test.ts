import { join } from 'node:path'
import t from 'tap'
import { OpenAiDouble } from '../../src/simulator/vendors/openai-realtime-double.js'
import { Script } from '../../src/simulator/vendors/double.js'
import { whole } from '../support/gateway.js'
import { simulateOneCall } from '../support/simulated.js'

// Calls are spoken in real time.
t.setTimeout(300_000)

t.test(
  "on a model the support line is the same: its tools are offered, and it reaches no account but the caller's",
  async (t) => {
    const verify = (callId: string, question: string, answer: string) => ({
      callId,
      name: 'verify_caller',
      args: { question, answer },
    })
    const others = { msisdn: '+254700000002' }
    const double = await OpenAiDouble.start({
      key: 'sk-test-openai',
      script: new Script(
        [
          { say: 'Hello.', audioMs: 800 },
          // Talked into another number before anything is known of the caller, and again after it is.
          { calls: [{ callId: 'c1', name: 'getAccount', args: others }] },
          { calls: [verify('c2', 'id-number', '7386')] },
          { calls: [verify('c3', 'birth-date', 'the seventeenth of April nineteen eighty-eight')] },
          { calls: [{ callId: 'c4', name: 'getAccount', args: others }] },
          { calls: [{ callId: 'c5', name: 'search_knowledge', args: { query: 'opening hours' } }] },
          {
            say: 'One moment.',
            audioMs: 500,
            calls: [
              {
                callId: 'c6',
                name: 'escalate_to_human',
                args: { reason: 'wants more', summary: 'asked for an account' },
              },
            ],
          },
        ],
        ['tell me about another account'],
      ),
    })
    t.teardown(() => double.close())
    const { at, close } = await whole({ OPENAI_API_KEY: 'sk-test-openai', OPENAI_BASE_URL: double.baseUrl })
    t.teardown(close)
    const script = join(
      t.testdir({
        'asks.yaml':
          'version: 1\nname: asks\npatienceMs: 2500\nsteps:\n  - say: Tell me about another account.\n  - wait: 9000\n  - hangup: true\n',
      }),
      'asks.yaml',
    )
    const { calls, output } = await simulateOneCall({ ...at, agent: 'support', args: ['--script', script] })
    const [call] = calls
    t.equal(call?.backend, 'openai', output)

    const session = double.sessions[0]
    const received = JSON.stringify(session?.received ?? [])
    for (const name of [
      'getAccount',
      'check_outage',
      'search_knowledge',
      'verify_caller',
      'go_to_stage',
      'escalate_to_human',
      'end_call',
    ]) {
      t.match(received, `"name":"${name}"`, `${name} is offered`)
    }
    for (const name of ['open_ticket', 'note_fix'])
      t.notMatch(received, `"name":"${name}"`, `${name} is of a stage that this call does not reach`)
    const answers = new Map(
      (session?.received ?? []).flatMap((event) => {
        const item =
          'item' in event
            ? (event.item as { readonly type?: string; readonly call_id?: string; readonly output?: string })
            : undefined
        return item?.type === 'function_call_output' ? [[item.call_id ?? '', item.output ?? '']] : []
      }),
    )
    t.match(answers.get('c1'), /getAccount cannot be called in the stage verify/)
    t.match(answers.get('c3'), /"verified":true/)
    t.match(answers.get('c4'), /"plan":"Home 20"/, "the caller's own account, whatever number was asked for")
    t.match(answers.get('c5'), /7 in the morning/)
    t.notMatch([...answers.values()].join(), /Home 50|6273|23917386|1988-04-17/)

    t.match(
      call?.toolCalls.find(({ name }) => name === 'verify_caller')?.args,
      { answer: '…' },
      'no answer is in the record',
    )
    const packet: unknown = await (
      await fetch(`http://127.0.0.1:${at.opsPort}/api/calls/${call?.callSid ?? ''}/handoff`)
    ).json()
    t.match(packet, {
      reason: 'wants more',
      identity: { accountId: 'AC-1001' },
      tried: [{ name: 'getAccount', ok: false }, {}, {}, {}, {}],
    })
    t.equal(call?.outcome, 'escalated')
  },
)
