import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { packageRoot } from '../../src/config/package-root.js'
import { CallerIdentity } from '../../src/agents/tool.js'
import { agentSchema } from '../../src/agents/definition.js'
import type { AgentInput } from '../../src/agents/definition.js'
import { HttpClient } from '../../src/http/http-client.js'
import { loadAgents } from '../../src/agents/loader.js'
import { ToolRunner } from '../../src/agents/tool-runner.js'
import type { ToolContext } from '../../src/agents/tool.js'

/**
 * The attack: two questions ask for one fact (the year of birth and the date of birth), so whoever knows that one fact
 * about a customer is verified by it.
 */
type VerificationInput = NonNullable<AgentInput['verification']>
type Questions = VerificationInput['questions']

const QUESTIONS = {
  year: { id: 'birth-year', ask: 'Which year?', field: 'security.birthDate', kind: 'year' },
  date: { id: 'birth-date', ask: 'Which date?', field: 'security.birthDate', kind: 'date' },
  whole: { id: 'record', ask: 'What is written?', field: 'security', kind: 'text' },
  id: { id: 'id-number', ask: 'Which number?', field: 'security.idNumber', kind: 'digits', last: 4 },
  idAgain: { id: 'id-again', ask: 'Which number, all of it?', field: 'documents.0.number', kind: 'digits' },
  yearElsewhere: { id: 'year-elsewhere', ask: 'Which year?', field: 'profile.bornIn', kind: 'digits' },
  name: { id: 'full-name', ask: 'Which name?', field: 'name', kind: 'name' },
  firstName: { id: 'first-name', ask: 'Which first name?', field: 'firstName', kind: 'text' },
  town: { id: 'town', ask: 'Which town?', field: 'town', kind: 'text' },
} as const satisfies Record<string, Questions[number]>

const ACCOUNT = {
  accountId: 'AC-1',
  name: 'Amina Odhiambo',
  firstName: 'Amina',
  town: 'Nakuru',
  profile: { bornIn: 1988 },
  security: { birthDate: '1988-04-17', idNumber: '23917386' },
  documents: [{ number: '2391 7386' }],
}
const ANSWERS: Record<string, string> = {
  'birth-year': 'nineteen eighty eight',
  'birth-date': '17 April 1988',
  'id-number': '7386',
  'id-again': '2391 7386',
  'year-elsewhere': '1988',
  'full-name': 'Amina Odhiambo',
  'first-name': 'Amina',
  town: 'Nakuru',
}

async function accountApi(t: Test): Promise<string> {
  const server = createServer((request, response) => {
    request.resume()
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(ACCOUNT))
  })
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

const agentOf = (url: string, questions: Questions, required?: number): unknown => ({
  version: 1,
  name: 'a',
  instructions: 'x',
  verification: {
    account: { http: { url, query: { phone: '{{call.from}}' } } },
    questions,
    identity: { accountId: 'accountId' },
    ...(required === undefined ? {} : { required }),
  },
})

const contextOf = (): ToolContext => ({
  callSid: 'HD_000000000001',
  from: '+254700000001',
  to: '',
  agent: 'a',
  language: 'en',
  idempotencyKey: 'k',
  caller: new CallerIdentity(),
  signal: new AbortController().signal,
})

t.test('two questions over one field do not verify: an agent file that counts on it is refused', async (t) => {
  const faults = (questions: Questions, required?: number): string[] =>
    agentSchema
      .safeParse(agentOf('http://a', questions, required))
      .error?.issues.map(({ path, message }) => `${path.join('.')} ${message}`) ?? []
  const { year, date, id, whole } = QUESTIONS
  t.match(faults([year, date]), [
    /^verification\.questions\.1\.field security\.birthDate is what birth-year asks for too: questions over one field count as one/,
  ])
  t.match(
    faults([whole, date], 2),
    [/^verification\.questions\.1\.field security\.birthDate is what record asks for too/],
    'a field that holds the other',
  )
  t.match(faults([id, year, date], 3), [/^verification\.questions\.2\.field/])
  t.same(faults([id, year, date]), [], 'as the other way to ask they may stand beside a third question')
  t.same(faults([year, date], 1), [])
})

t.test('the fault names file and line', async (t) => {
  const dir = t.testdir({
    'a.yaml': `version: 1
name: a
instructions: x
verification:
  account: { http: { url: 'http://a', query: { phone: '{{call.from}}' } } }
  questions:
    - { id: birth-year, ask: Which year?, field: security.birthDate, kind: year }
    - { id: birth-date, ask: Which date?, field: security.birthDate, kind: date }
  identity: { accountId: accountId }
`,
  })
  await t.rejects(loadAgents(dir, {}), {
    message: /a\.yaml:8:\d+: verification\.questions\[1\]\.field security\.birthDate is what birth-year asks for too/,
  })
})

t.test('who knows one fact is not verified by it, whichever questions he answers with it', async (t) => {
  const url = await accountApi(t)
  const client = new HttpClient()
  t.teardown(() => {
    client.close()
  })
  const { year, date, id, idAgain, yearElsewhere, name, firstName, town } = QUESTIONS
  const cases: [string, Questions, boolean][] = [
    ['the year and the date of one field', [year, date, id], false],
    ['a year that lies in another field', [date, yearElsewhere, id], false],
    ['the last digits and the whole of one number, from two fields', [id, idAgain, town], false],
    ['a first name and the whole name', [firstName, name, id], false],
    ['two facts', [date, id], true],
    ['two texts that have nothing in common', [town, name], true],
  ]
  for (const [what, questions, verifies] of cases) {
    const tools = new ToolRunner(agentSchema.parse(agentOf(url, questions)), {}, client)
    const context = contextOf()
    const [first, second, third] = questions
    t.match(await tools.run('verify_caller', { question: first?.id, answer: ANSWERS[first?.id ?? ''] }, context), {
      ok: true,
      value: { verified: false },
    })
    const answer = await tools.run(
      'verify_caller',
      { question: second?.id, answer: ANSWERS[second?.id ?? ''] },
      context,
    )
    t.match(answer, { ok: true, value: { verified: verifies } }, what)
    t.equal(context.caller.verified !== null, verifies, what)
    if (third === undefined) continue
    t.match(answer, { value: { questionsLeft: [third.id] } }, 'the model is told which question still counts')
    t.match(
      await tools.run('verify_caller', { question: third.id, answer: ANSWERS[third.id] }, context),
      { ok: true, value: { verified: true } },
      'a second fact verifies',
    )
  }
})

t.test('the shipped support line asks for facts that do not give each other away', async (t) => {
  const { agents } = await loadAgents(join(packageRoot(), 'agents'), { SHOP_API_URL: 'http://127.0.0.1:1' })
  const questions = agents.get('support')?.verification?.questions ?? []
  t.ok(questions.length >= 2)
  t.equal(new Set(questions.map(({ field }) => field)).size, questions.length)
  t.match(readFileSync(join(packageRoot(), 'agents/support.yaml'), 'utf8'), /lock: \{ failures: 3, minutes: 1440 \}/)
})
