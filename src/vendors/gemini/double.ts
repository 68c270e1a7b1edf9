import { GeminiDouble } from './live-double.js'
import { GeminiTextDouble } from './text-double.js'
import { TUNED } from '../../simulator/vendors/optional-fields.js'
import type { OptionalFieldsOf } from '../../simulator/vendors/optional-fields.js'

export const doubles = {
  gemini: [[GeminiDouble, 'GEMINI_BASE_URL']],
  'gemini-text': [[GeminiTextDouble, 'GEMINI_BASE_URL']],
}

export const optionalFields: OptionalFieldsOf = {
  llm: {
    gemini: [
      {
        wished: { ...TUNED, thinkingLevel: 'low' },
        fields: {
          temperature: [/"temperature"/, 'Invalid value at generation_config.temperature'],
          maxOutputTokens: [/maxOutputTokens/, 'Invalid value at generation_config.max_output_tokens'],
          thinkingConfig: [/thinkingConfig/, 'Thinking level is not supported for this model.'],
        },
      },
    ],
  },
}
