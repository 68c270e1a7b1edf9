/** Module that piscina loads for a media worker: see `speech/start-speech-worker.ts`. */
export default (await import('./call-worker.js')).default
