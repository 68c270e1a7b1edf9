/** Public addresses of vendors' services, as backends and services of a cascade are named. */
export const VENDOR_URLS = {
  anthropic: 'https://api.anthropic.com',
  cartesia: 'wss://api.cartesia.ai',
  deepgram: 'wss://api.deepgram.com',
  elevenlabs: 'wss://api.elevenlabs.io',
  gemini: 'https://generativelanguage.googleapis.com',
  'google stt': 'https://speech.googleapis.com',
  'google tts': 'https://texttospeech.googleapis.com',
  openai: 'https://api.openai.com/v1',
  'soniox stt': 'wss://stt-rt.soniox.com',
  'soniox tts': 'wss://tts-rt.soniox.com',
} as const
