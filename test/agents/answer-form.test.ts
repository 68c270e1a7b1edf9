import t from 'tap'
import { answerForm } from '../../src/agents/tools/answer-form.js'
import type { AnsweredTool } from '../../src/agents/tools/answer-form.js'

const tool = (more: object = {}): AnsweredTool =>
  ({
    parameters: {
      type: 'object',
      properties: { day: { type: 'string', enum: ['Monday', 'Friday'] }, name: { type: 'string' } },
      required: [],
    },
    result: {},
    ...more,
  }) as unknown as AnsweredTool

const NOTHING = { status: 'no_results', retryable: false, hint: /do not call the tool again/ }

t.test('an empty answer of any shape is no_results', async (t) => {
  for (const value of [null, undefined, {}, { order: null }, { orders: [] }, { orders: [], total: 0, next: null }])
    t.match(answerForm(value, tool()), NOTHING, JSON.stringify(value))
  t.match(answerForm([], null), { ...NOTHING, results: [] })
})

t.test('an answer with content is unchanged', async (t) => {
  for (const value of [{ active: false }, { balance: 0 }, [{ id: 1 }], { orders: [], owed: 5 }, 'none', 0, false])
    t.equal(answerForm(value, tool()), value, JSON.stringify(value))
})

t.test("a 404 is no_results with the agent's own words", async (t) => {
  const notFound = { found: false, hint: 'Ask for the number again.' }
  t.same(answerForm({ ...notFound }, tool({ result: { notFound } })), {
    ...{ status: 'no_results', retryable: false },
    ...notFound,
  })
  t.match(answerForm({ error: 'the system answered with an error', status: 404, detail: 'no such order' }, tool()), {
    ...NOTHING,
    detail: 'no such order',
  })
})

t.test('a refused value is invalid_argument with the values allowed', async (t) => {
  for (const status of [400, 422])
    t.match(answerForm({ error: 'the system answered with an error', status, detail: 'closed' }, tool()), {
      ...{ status: 'invalid_argument', retryable: true, hint: /another one/, detail: 'closed' },
      validValues: { day: ['Monday', 'Friday'] },
    })
  t.notOk(Object.hasOwn(answerForm({ error: 'x', status: 422 }, null) as object, 'validValues'))
})

t.test('other errors are unchanged', async (t) => {
  const value = { error: 'the system answered with an error', status: 503 }
  t.equal(answerForm(value, tool()), value)
})
