/** Answers of this process only, by call, for the newest CALLS_MAX calls. Replace this with a request to your own system. */
const answers = new Map()
const CALLS_MAX = 1000

export const saveAnswer = {
  name: 'save_answer',
  description: 'Keeps the answer to one question of the survey.',
  parameters: {
    properties: {
      question: { type: 'string', enum: ['grade', 'topic', 'again'] },
      answer: { type: 'string', maxLength: 200 },
    },
    required: ['question', 'answer'],
  },
  // The same answer twice has no further effect, so the tool may run again.
  idempotent: true,
  sample: { question: 'grade', answer: 'very-good' },
  run: ({ question, answer }, { callSid }) => {
    if (answers.size >= CALLS_MAX) answers.delete(answers.keys().next().value)
    answers.set(callSid, { ...answers.get(callSid), [question]: answer })
    return { saved: true }
  },
}
