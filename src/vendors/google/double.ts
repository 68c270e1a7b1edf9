import { GoogleSpeechDouble } from './speech-double.js'
import { GoogleVoiceDouble } from './voice-double.js'
import { TERMS, SPEED, speedIn } from '../../simulator/vendors/optional-fields.js'
import type { OptionalFieldsOf } from '../../simulator/vendors/optional-fields.js'

export const doubles = {
  google: [
    [GoogleSpeechDouble, 'GOOGLE_STT_URL'],
    [GoogleVoiceDouble, 'GOOGLE_TTS_URL'],
  ],
}

export const optionalFields: OptionalFieldsOf = {
  stt: {
    google: [
      {
        wished: TERMS,
        fields: {
          enableAutomaticPunctuation: [/enableAutomaticPunctuation":true/, 'bad enable_automatic_punctuation.'],
          alternativeLanguageCodes: [/alternativeLanguageCodes":\["/, 'alternative_language_codes is not supported.'],
          speechContexts: [/speechContexts":\[\{/, 'speech_contexts are not supported for this model.'],
        },
        languages: ['en-KE', 'sw-KE'],
      },
    ],
  },
  tts: { google: [{ wished: SPEED, fields: speedIn(/speakingRate/, 'This voice does not support speaking rate.') }] },
}
