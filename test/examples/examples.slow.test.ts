import { spawn } from 'node:child_process'
import { readdir } from 'node:fs/promises'
import { createServer } from 'node:http'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { Webhook } from 'standardwebhooks'
import { startDarajaDouble } from '../../examples/pay-api/daraja-double.js'
import type { Payer } from '../../examples/pay-api/daraja-double.js'
import { DEMO_CODE, orderOf, payerOf, priceOf, startPayDemo } from '../../examples/pay-api/demo.js'
import { startPayApi } from '../../examples/pay-api/pay.js'
import { packageRoot } from '../../src/config/package-root.js'
import type { ScenarioReport } from '../../src/simulator/scenarios/report.js'
import { command } from '../support/command.js'
import { comesUp, until } from '../support/until.js'
import { portOf } from '../support/port-of.js'

const example = join(packageRoot(), 'examples/pay-api')
const PHONE = '+254700000001'

/** The pay API before payers who all do the same, and the continuation URL of a gateway that keeps what it gets. */
async function payments(
  t: Test,
  does: Payer,
  pinMs = 5,
  answers: readonly number[] = [],
): Promise<{
  readonly url: string
  readonly prompts: readonly string[]
  readonly posts: { readonly body: unknown; readonly at: number }[]
  readonly pay: (key?: string) => Promise<{ status: number; body: Record<string, unknown>; at: number }>
}> {
  const posts: { body: unknown; at: number }[] = []
  const gateway = createServer((request, response) => {
    let text = ''
    request.on('data', (chunk: Buffer) => (text += chunk.toString()))
    request.on('end', () => {
      response.writeHead(answers[posts.length] ?? 200).end('{}')
      posts.push({ body: JSON.parse(text), at: performance.now() })
    })
  })
  const port = await portOf(t, gateway)
  const demo = await startPayDemo({ pinMs, payer: () => does, tellAgainMs: 5 })
  t.teardown(() => demo.close())
  const callback = `http://127.0.0.1:${port}/continue?t=w.1`
  return {
    url: demo.url,
    prompts: demo.prompts,
    posts,
    pay: async (key = 'k1') => {
      const body = JSON.stringify({ order: '4101', phone: PHONE, callback })
      const response = await fetch(`${demo.url}/payments`, {
        method: 'POST',
        headers: { 'idempotency-key': key },
        body,
      })
      const answer = (await response.json()) as Record<string, unknown>
      return { status: response.status, body: answer, at: performance.now() }
    },
  }
}

for (const [does, status, result] of [
  ['pays', 'succeeded', { code: 0, amount: 2000, receipt: 'SKQ7H1XT5B' }],
  ['cancels', 'failed', { code: 1032 }],
  ['has-too-little', 'failed', { code: 1 }],
  ['mistypes-the-pin', 'failed', { code: 2001 }],
  ['is-not-reached', 'failed', { code: 1037 }],
  ['pays-before-the-answer', 'succeeded', { code: 0 }],
  ['pays-and-is-told-twice', 'succeeded', { code: 0 }],
] as const)
  t.test(`a payer who ${does} gets one prompt and one outcome`, async (t) => {
    const { pay, posts, prompts } = await payments(t, does)
    t.match(await pay(), { status: 202, body: { pending: /^ws_CO_/, expiresInS: 90 } })
    await until(() => posts.length > 0, 5000, 'the outcome')
    t.match(posts[0]?.body, { status, result })
    t.equal(prompts.length, 1)
    await pay()
    t.equal(prompts.length, 1, 'the same key prompts nobody again')
    t.equal(posts.length, 1)
  })

t.test('an outcome is sent again until the gateway takes it', async (t) => {
  const { pay, posts } = await payments(t, 'pays', 5, [503, 429, 200])
  await pay()
  await until(() => posts.length === 3, 5000, 'the outcome to be taken')
  t.same(posts[2]?.body, posts[0]?.body)
  const { pay: payLate, posts: late } = await payments(t, 'pays', 5, [410])
  await payLate()
  await until(() => late.length > 0, 5000, 'the outcome')
  t.same([posts.length, late.length], [3, 1])
})

t.test('a second push for a pending order is refused', async (t) => {
  const { pay, prompts } = await payments(t, 'does-nothing')
  await pay('k1')
  t.equal((await pay('k2')).status, 409)
  t.equal(prompts.length, 1)
})

t.test('a lost callback is recovered by a query', async (t) => {
  const asked = async (url: string, id: unknown): Promise<unknown> =>
    (await fetch(`${url}/payments/${String(id)}`)).json()
  const open = await payments(t, 'does-nothing')
  t.same(await asked(open.url, (await open.pay()).body['pending']), { status: 'progress' })
  const { pay, posts, url } = await payments(t, 'pays-unheard')
  const { body } = await pay()
  const found = async (): Promise<boolean> =>
    ((await asked(url, body['pending'])) as { status: string }).status === 'succeeded'
  await until(found, 5000, 'the query')
  await until(() => posts.length === 1, 5000, 'the post')
})

t.test('with a secret the outcome is signed', async (t) => {
  const secret = `whsec_${Buffer.from('a secret of a test, 24 b').toString('base64')}`
  const headers: Record<string, string>[] = []
  const gateway = createServer((request, response) => {
    let text = ''
    request.on('data', (chunk: Buffer) => (text += chunk.toString()))
    request.on('end', () => {
      headers.push({ ...(request.headers as Record<string, string>), text })
      response.end()
    })
  })
  const port = await portOf(t, gateway)
  const double = await startDarajaDouble({ payer: payerOf, pinMs: 1 })
  const daraja = { url: double.url, key: 'k', secret: 's', shortCode: '1', passKey: 'p' }
  const api = await startPayApi({ daraja, priceOf, orderOf, sms: () => undefined, continueSecret: secret })
  t.teardown(() => Promise.all([api.close(), double.close()]))
  const callback = `http://127.0.0.1:${port}/continue?t=w.1.abcdefghijklmnopqrstuv`
  await fetch(`${api.url}/payments`, {
    method: 'POST',
    body: JSON.stringify({ order: '4101', phone: PHONE, callback }),
  })
  await until(() => headers.length > 0, 5000, 'the outcome')
  t.match(new Webhook(secret).verify(headers[0]?.['text'] ?? '', headers[0] ?? {}), { status: 'succeeded' })
})

t.test('a code is compared at most three times', async (t) => {
  const texts: string[] = []
  const demo = await startPayDemo({ sms: (_, text) => texts.push(text) })
  t.teardown(() => demo.close())
  const post = async (path: string, body: object): Promise<unknown> =>
    (await fetch(`${demo.url}${path}`, { method: 'POST', body: JSON.stringify(body) })).json()
  t.same(await post('/codes', { call: 'HD_1', phone: PHONE }), { sent: true })
  t.match(await post('/codes', { call: 'HD_1', phone: PHONE }), { error: /half a minute/ })
  const code = /\d{6}/.exec(texts[0] ?? '')?.[0] ?? ''
  t.match(await post('/codes/check', { call: 'HD_2', code }), { right: false }, 'of another call')
  t.match(await post('/codes/check', { call: 'HD_1', code: '12345' }), { right: false, triesLeft: 2 })
  t.same(await post('/codes/check', { call: 'HD_1', code }), { right: true })
  t.match(await post('/codes/check', { call: 'HD_1', code }), { right: false }, 'and once')
})

t.test('the dialogues with M-Pesa pass in English and Swahili', async (t) => {
  const demo = await startPayDemo({ pinMs: 5 })
  t.teardown(() => demo.close())
  const argv = ['simulate', join(example, 'scenarios'), '--agents', join(example, 'agents'), '--json', '-']
  const { code, out, err } = await command(argv, { env: { AGENT_ENV: 'PAY_API_URL', PAY_API_URL: demo.url } })
  t.equal(code, 0, err)
  const report = JSON.parse(out) as { passed: number; failed: number }
  // All but the one whose caller is a model: models.slow.test.ts.
  t.match(report, { passed: (await readdir(join(example, 'scenarios'))).length - 1, failed: 0 })
  t.notOk(out.includes(DEMO_CODE), 'the code is in no report')
})

for (const [what, name] of [
  ['agents hand over a call in English and Swahili', 'two-agents'],
  ['customers are greeted by name in English and Swahili', 'known-caller'],
  ['a call reaches its next stage or a human', 'stages'],
  ['a PIN is keyed in and appears in no report', 'keypad'],
  ['a local MCP server finds a book and ends', 'mcp'],
  ['people of a list are called and can opt out', 'campaigns'],
] as const)
  t.test(what, async (t) => {
    const folder = join(packageRoot(), 'examples', name)
    // Those that are spoken take their time: simulate.slow.test.ts.
    const argv = ['simulate', join(folder, 'scenarios'), '--agents', join(folder, 'agents'), '--mode', 'text']
    const { code, out, err } = await command([...argv, '--json', '-'])
    t.equal(code, 0, err)
    const { passed, skipped } = JSON.parse(out) as Pick<ScenarioReport, 'passed' | 'skipped'>
    t.equal(passed, (await readdir(join(folder, 'scenarios'))).length - skipped)
    t.ok(passed > 0)
    t.notMatch(out, /\b4831\b/)
    const isAlone = (): boolean => !process.getActiveResourcesInfo().includes('ProcessWrap')
    await until(isAlone, 10_000, 'the end of every process that the run started')
  })

t.test('Ctrl-C ends the courier API with an outcome still waiting', async (t) => {
  const child = spawn(process.execPath, [join(packageRoot(), 'dist/examples/waits/main.js'), '--port', '0'])
  t.teardown(() => child.kill('SIGKILL'))
  let said = ''
  child.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()))
  const urlOf = (): string | undefined => /http:\S+/.exec(said)?.[0]
  await comesUp(child, () => urlOf() !== undefined, 20_000, 'the courier API')
  const body = JSON.stringify({ callback: 'http://127.0.0.1:1/nobody' })
  t.equal((await fetch(`${urlOf()}/pick-ups`, { method: 'POST', body })).status, 202)
  child.kill('SIGINT')
  await until(() => child.exitCode === 0, 5000, 'its end')
})

t.test('a late courier is announced only after accepting', async (t) => {
  const folder = join(packageRoot(), 'examples/waits')
  const api = createServer((_, response) => {
    response.writeHead(202, { 'content-type': 'application/json' })
    response.end('{"pending":"p1","expiresInS":60}')
  })
  const env = { AGENT_ENV: 'COURIER_API_URL', COURIER_API_URL: `http://127.0.0.1:${await portOf(t, api)}` }
  const { code, err } = await command(['simulate', join(folder, 'scenarios'), '--agents', join(folder, 'agents')], {
    env,
  })
  t.equal(code, 0, err)
})
