import { maxOutputTokens, model, timeoutMs } from '../common-options.js'
import type { ListedPrice } from '../vendor.js'
import { HTTP, apiKey, define, modelName, optional } from '../../core/setting.js'
import { keyed, vendor } from '../vendor.js'

/** Prices of prompts up to 100,000 tokens. They are second-hand: several public projects quote Anthropic's page. */
const price = (input: number, cached: number, output: number): ListedPrice => ({
  inputPerMillionTokens: input,
  cachedPerMillionTokens: cached,
  // Price of the five-minute cache, which the gateway's requests use.
  cacheWritePerMillionTokens: input * 1.25,
  outputPerMillionTokens: output,
  source: 'https://platform.claude.com/docs/en/about-claude/pricing',
  readOn: '2026-10-24',
})

export const anthropic = vendor({
  folder: 'anthropic',
  title: 'Anthropic',
  settings: {
    anthropicApiKey: optional({
      kind: apiKey,
      help: 'The API key for Anthropic, a language model of the backend cascade.',
    }),
    anthropicBaseUrl: optional({
      kind: HTTP,
      help: "The address of Anthropic's API. If unset, it is the public address.",
    }),
    anthropicModel: define({
      kind: modelName,
      fallback: 'claude-haiku-5-5',
      help: "Anthropic's model for a cascade, if the agent names none.",
    }),
  },
  services: {
    llm: {
      anthropic: {
        about: 'the Messages API, streamed, with tools; instructions and tools from its prompt cache',
        needs: 'ANTHROPIC_API_KEY',
        own: { baseUrl: 'https://api.anthropic.com' },
        options: { model, timeoutMs, maxTokens: maxOutputTokens },
        settings: ({ anthropicApiKey, anthropicBaseUrl, anthropicModel: model }) =>
          keyed(anthropicApiKey, anthropicBaseUrl, { model }),
      },
    },
  },
  hosts: /^api\.anthropic\.com$/,
  prices: {
    'claude-haiku-5-5': price(0.1, 0.01, 0.5),
    'claude-haiku-4-5': price(1, 0.1, 5),
    'claude-sonnet-5-5': price(2, 0.1, 10),
    'claude-sonnet-5': price(2, 0.2, 10),
    'claude-sonnet-4-6': price(3, 0.3, 15),
    'claude-opus-5-5': price(4, 0.2, 20),
    'claude-opus-5': price(5, 0.5, 25),
  },
  exports: {
    'anthropic-usage': {
      source: 'the header of the export in the readers of several public repositories',
      readOn: '2026-11-29',
      marks: ['usage_date_utc', 'model_version', 'usage_output_tokens'],
      map: {
        day: 'usage_date_utc',
        model: 'model_version',
        units: {
          inputTokens: [
            'usage_input_tokens_no_cache',
            'usage_input_tokens_cache_write_5m',
            'usage_input_tokens_cache_write_1h',
            'usage_input_tokens_cache_read',
          ],
          inputCachedTokens: 'usage_input_tokens_cache_read',
          inputCacheWriteTokens: ['usage_input_tokens_cache_write_5m', 'usage_input_tokens_cache_write_1h'],
          outputTokens: 'usage_output_tokens',
        },
      },
    },
  },
  doubles: {
    anthropic: { what: "Anthropic's language models", port: 7811, key: 'ANTHROPIC_API_KEY', parts: ['LLM'] },
  },
})
