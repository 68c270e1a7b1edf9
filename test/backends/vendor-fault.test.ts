import t from 'tap'
import { httpFault } from '../../src/backends/transport/vendor-fault.js'

const words = (body: object): string =>
  httpFault('llm', { status: 422, body: JSON.stringify(body) }, []).message.replace(/^llm: HTTP 422(?:: )?/, '')

t.test("a refusal's message is read in each known form", (t) => {
  for (const body of [
    { error: { message: 'No seed.' } },
    { error: 'No seed.' },
    { err_msg: 'No seed.' },
    { detail: 'No seed.' },
    { detail: { message: 'No seed.' } },
    { message: 'No seed.' },
    { detail: [{ msg: 'No seed.' }] },
  ])
    t.equal(words(body), 'No seed.', JSON.stringify(body))
  t.end()
})

t.test("FastAPI's list names the field without the request's content", (t) => {
  const detail = [
    { type: 'extra_forbidden', loc: ['body', 'speed'], msg: 'Extra inputs are not permitted', input: 'my account' },
    { loc: ['body', 'messages', 0], msg: 'Field required', input: 'my account', ctx: { given: 'my account' } },
    { loc: 'body', input: 'my account' },
    'my account',
  ]
  t.equal(words({ detail }), 'body.speed: Extra inputs are not permitted; body.messages.0: Field required')
  t.equal(words({ detail: [] }), '')
  t.end()
})
