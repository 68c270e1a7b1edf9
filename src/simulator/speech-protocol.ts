import type { LegRateHz } from '../core/units.js'
import type { EarVocabulary } from './ear-vocabulary.js'
import type { CallerVoice } from './voices.js'

/** What the thread of voices and ears is started with. */
export interface SpeechThreadData {
  /** Null: nobody listens, only voices are loaded. */
  readonly vocabulary: EarVocabulary | null
}

export type SpeechRequest =
  | { readonly id: number; readonly type: 'speak'; readonly text: string; readonly voice: CallerVoice; readonly sampleRateHz: LegRateHz; readonly pace: number }
  /** 8 kHz; its memory moves to the thread. */
  | { readonly id: number; readonly type: 'hear'; readonly pcm: Int16Array }

export type SpeechReply =
  | { readonly type: 'ready'; readonly voicesMs: number; readonly earMs: number }
  | { readonly type: 'spoken'; readonly id: number; readonly pcm: Int16Array }
  | { readonly type: 'heard'; readonly id: number; readonly text: string }
  | { readonly type: 'failed'; readonly id: number; readonly message: string }
