import { z } from 'zod'
import { HTTP, SOCKET_OR_HTTP, apiKey, define, modelName, oneOf, optional } from '../../core/setting.js'
import { context, maxOutputTokens, model, speed, temperature, timeoutMs, vocabulary, voice } from '../common-options.js'
import { atAddress, realtime, vendor } from '../vendor.js'
import type { ValuesOf } from '../vendor.js'
import { selfHostedOptions } from './options.js'

const settings = {
  sttUrl: optional({
    kind: HTTP,
    help: 'The address, up to /v1, of the speech recogniser of the backend cascade.',
  }),
  sttApiKey: optional({
    kind: apiKey,
    help: 'The API key for the recogniser at STT_URL, if it requires one.',
  }),
  sttModel: define({
    kind: modelName,
    fallback: 'whisper-1',
    help: 'The model of the recogniser at STT_URL.',
  }),
  llmUrl: optional({
    kind: HTTP,
    help: 'The address, up to /v1, of the language model of the backend cascade.',
  }),
  llmApiKey: optional({
    kind: apiKey,
    help: 'The API key for the language model at LLM_URL, if it requires one.',
  }),
  llmModel: define({
    kind: modelName,
    fallback: 'default',
    help: 'The name of the language model at LLM_URL.',
  }),
  ttsUrl: optional({
    kind: HTTP,
    help: 'The address, up to /v1, of the voice (text to speech) of the backend cascade.',
  }),
  ttsApiKey: optional({
    kind: apiKey,
    help: 'The API key for the voice at TTS_URL, if it requires one.',
  }),
  ttsModel: define({
    kind: modelName,
    fallback: 'tts-1',
    help: 'The model of the voice at TTS_URL.',
  }),
  sttRealtimeUrl: optional({
    kind: SOCKET_OR_HTTP,
    help: "The address of your own recogniser for the backend cascade: a server with OpenAI's realtime transcription, such as speaches, or vLLM. The recogniser's API key is in STT_API_KEY, and the model's name in STT_MODEL.",
  }),
  realtimeUrl: optional({
    kind: SOCKET_OR_HTTP,
    help: "The address of a realtime server that speaks OpenAI's protocol, which the backend self-hosted needs.",
  }),
  realtimeApiKey: optional({
    kind: apiKey,
    help: 'The API key for the server at REALTIME_URL, if it requires one.',
  }),
  realtimeModel: define({
    kind: modelName,
    fallback: 'default',
    help: 'The model or pipeline of the server at REALTIME_URL.',
  }),
  realtimeDialect: define<'ga' | 'beta'>({
    kind: oneOf('ga', 'beta'),
    fallback: 'ga',
    help: "The form of the protocol that the server at REALTIME_URL speaks: OpenAI's current protocol (`ga`), or the flat session of OpenAI's beta protocol.",
  }),
  realtimeTurns: define<'server_vad' | 'semantic_vad' | 'gateway'>({
    kind: oneOf('server_vad', 'semantic_vad', 'gateway'),
    fallback: 'server_vad',
    help: "The detector of the end of the caller's turn on the backend self-hosted, if the agent names none: one of the server's two detectors, or the gateway.",
  }),
  realtimeRateHz: define<'16000' | '24000'>({
    kind: oneOf('16000', '24000'),
    fallback: '24000',
    help: 'The sample rate, in Hz, of the audio to and from the server at REALTIME_URL.',
  }),
}

const selfHostedBackend = realtime({
  about: "your own server with OpenAI's protocol, as the backend `openai`",
  needs: 'REALTIME_URL',
  asks: ['REALTIME_URL', 'REALTIME_API_KEY', 'REALTIME_MODEL'],
  options: selfHostedOptions,
  settings: ({
    realtimeUrl: baseUrl,
    realtimeApiKey: apiKey,
    realtimeModel: model,
    realtimeDialect: dialect,
    realtimeTurns: turns,
    realtimeRateHz,
  }: ValuesOf<typeof settings>) =>
    baseUrl === null
      ? null
      : {
          baseUrl,
          apiKey,
          model,
          dialect,
          turns,
          rateHz: realtimeRateHz === '16000' ? (16_000 as const) : (24_000 as const),
        },
  detectsTurns: ({ turns }, own) => (own.turns?.by ?? turns) !== 'gateway',
  models: ({ model, baseUrl }, own) => [{ model: own.model ?? model, baseUrl }],
})

export const selfHosted = vendor({
  folder: 'self-hosted',
  title: "services in OpenAI's shape",
  settings,
  services: {
    stt: {
      whisper: {
        about:
          '`/v1/audio/transcriptions`: whisper.cpp (`--inference-path /v1/audio/transcriptions`), speaches, LocalAI, vLLM, OpenAI; the text comes after the turn',
        changes:
          'changes nothing but what its model was trained on; speaches and OpenAI: numbers, capitals and punctuation in written form',
        needs: 'STT_URL',
        lacks: 'returns words only after the end of the turn, so that the request to the model starts later',
        options: {
          model,
          timeoutMs,
          prompt: z.string().max(1000).exactOptional().describe('Words that callers are likely to say. Default: none.'),
        },
        settings: ({ sttUrl, sttApiKey: apiKey, sttModel: model }) => atAddress(sttUrl, { apiKey, model }),
      },
      realtime: {
        about: "OpenAI's realtime transcription on your own machines (speaches), or vLLM's (`dialect: vllm`)",
        changes: 'numbers, capitals and punctuation in written form',
        needs: 'STT_REALTIME_URL',
        lacks: 'does not report the language of the caller',
        options: {
          model,
          terms: vocabulary,
          context,
          dialect: z
            .enum(['openai', 'vllm'])
            .exactOptional()
            .describe('Protocol of a realtime server: the protocol of OpenAI, or the protocol of vLLM.'),
        },
        settings: ({ sttRealtimeUrl, sttApiKey: apiKey, sttModel: model }) =>
          atAddress(sttRealtimeUrl, { apiKey, model }),
      },
    },
    llm: {
      chat: {
        about: '`/v1/chat/completions`, streamed, with tools: OpenAI, vLLM, Ollama, llama.cpp, LocalAI',
        needs: 'LLM_URL',
        options: { model, timeoutMs, temperature, maxTokens: maxOutputTokens },
        settings: ({ llmUrl, llmApiKey: apiKey, llmModel: model }) => atAddress(llmUrl, { apiKey, model }),
      },
    },
    tts: {
      speech: {
        about:
          '`/v1/audio/speech`, played as it arrives, a request for each sentence: OpenAI, Kokoro-FastAPI, speaches, Piper behind a proxy',
        needs: 'TTS_URL',
        lacks: 'does not tell when a word sounds: what an interrupted caller heard is estimated',
        options: {
          model,
          timeoutMs,
          voice,
          speed,
          sampleRateHz: z
            .int()
            .min(8000)
            .max(48_000)
            .exactOptional()
            .describe('Sample rate of raw samples. Default: 24000.'),
        },
        settings: ({ ttsUrl, ttsApiKey: apiKey, ttsModel: model }) => atAddress(ttsUrl, { apiKey, model }),
      },
    },
  },
  backends: { 'self-hosted': selfHostedBackend },
  doubles: {
    realtime: {
      what: "a realtime server of one's own, in OpenAI's shape",
      port: 7704,
      backend: 'self-hosted',
      key: 'REALTIME_API_KEY',
      faults: ['deaf', 'empty-answers'],
    },
  },
})
