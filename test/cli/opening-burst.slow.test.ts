import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { command } from '../support/command.js'
import { whole } from '../support/gateway.js'

// Calls are spoken in real time.
t.setTimeout(120_000)

t.test('callers who say hello while the call is set up hear the whole greeting, and are answered', async (t) => {
  const { at, close } = await whole()
  t.teardown(close)
  const json = join(t.testdir({}), 'calls.json')
  const { code, out, err } = await command(
    ['call', '--calls', '3', '--order', '4127', '--opening-burst', '1200', '--json', json],
    { env: { PORT: String(at.port), OPS_PORT: String(at.opsPort), SHOP_API_URL: at.shopUrl } },
  )
  t.equal(code, 0, out + err)
  const { calls } = JSON.parse(readFileSync(json, 'utf8')) as {
    calls: { bargeIns: { atMs: number }[]; transcript: { role: string; text: string; endMs: number }[] }[]
  }
  t.equal(calls.length, 3)
  for (const { bargeIns, transcript } of calls) {
    const greeting = transcript.find(({ role }) => role === 'agent')
    t.match(greeting?.text, /^Hello, .* your order number\.$/)
    t.same(
      bargeIns.filter(({ atMs }) => atMs < (greeting?.endMs ?? 0)),
      [],
    )
  }
})
