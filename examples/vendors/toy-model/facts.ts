import { z } from 'zod'
import { HTTP, apiKey, define, modelName, optional } from '../../core/setting.js'
import { model, temperature, timeoutMs } from '../common-options.js'
import { keyed, vendor } from '../vendor.js'

export const toyModel = vendor({
  folder: 'toy-model',
  title: 'Toy Model',
  settings: {
    toyModelKey: optional({
      kind: apiKey,
      help: 'The API key for Toy Model, a language model of the backend cascade.',
    }),
    toyModelUrl: optional({
      kind: HTTP,
      help: "The address of Toy Model's service. When unset, it is the public one.",
    }),
    toyModelName: define({
      kind: modelName,
      fallback: 'toy-thought-1',
      help: "Toy Model's model for a cascade, where the agent names none.",
    }),
  },
  services: {
    llm: {
      'toy-model': {
        about: 'answers in lines of JSON, with tools',
        needs: 'TOY_MODEL_KEY',
        own: { baseUrl: 'https://model.toy.example' },
        options: {
          model,
          timeoutMs,
          temperature,
          wit: z.number().min(0).max(1).exactOptional().describe('How often it jokes. Default: never.'),
        },
        settings: ({ toyModelKey, toyModelUrl, toyModelName: model }) => keyed(toyModelKey, toyModelUrl, { model }),
      },
    },
  },
  doubles: {
    'toy-model': { what: 'the language model of Toy Model', port: 7921, key: 'TOY_MODEL_KEY', parts: ['LLM'] },
  },
})
