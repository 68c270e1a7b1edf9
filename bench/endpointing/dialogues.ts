/** One turn of a caller: the agent's words before it, and the caller's words. */
interface DialogueTurn {
  readonly agent: string
  /** Words of the caller. Numbers in brackets are pauses in ms. */
  readonly caller: string
}

export type DialogueLanguage = 'en' | 'sw' | 'mixed'

/**
 * Dialogues in each language. They also contain pauses at the end of a sentence after which another sentence follows.
 * Words alone cannot distinguish these pauses from the end of a turn.
 */
export const DIALOGUES: Readonly<Record<DialogueLanguage, readonly DialogueTurn[]>> = {
  en: [
    { agent: 'How can I help you?', caller: 'I want a room, and (900) a view of the lake.' },
    { agent: 'How can I help you?', caller: "Hi, where's my parcel?" },
    { agent: 'How can I help you?', caller: 'I was calling because (1100) my order has not come.' },
    { agent: 'How can I help you?', caller: 'Good morning, I would like to (800) change my delivery.' },
    { agent: 'How can I help you?', caller: 'I ordered a grill but (1000) they sent me a kettle.' },
    { agent: 'How can I help you?', caller: 'Um (1000) I am looking for a blender.' },
    { agent: 'How can I help you?', caller: 'What time do you close today?' },
    { agent: 'How can I help you?', caller: 'My package is late. (750) I need it today.' },
    { agent: 'What is your phone number?', caller: 'zero seven one two (900) three four five (1100) six seven eight' },
    { agent: 'What is your phone number?', caller: 'zero seven two two (700) nine eight one (800) four four two' },
    { agent: 'Tell me the last four digits.', caller: 'four one (1200) two seven' },
    { agent: 'Tell me the last four digits.', caller: 'six three zero two' },
    { agent: 'What is your order number?', caller: 'four (850) one two (850) seven' },
    { agent: 'Is that the right address?', caller: 'Yes.' },
    { agent: 'Is that the right address?', caller: 'Yes, but (900) the gate is at the back.' },
    { agent: 'Shall I send it tomorrow?', caller: 'No thank you.' },
    { agent: 'Shall I send it tomorrow?', caller: 'Yes please.' },
    { agent: 'Order six three zero two, is that right?', caller: 'No, (650) the last one is seven.' },
    { agent: 'Which day suits you?', caller: 'Friday, in the (1000) afternoon.' },
    { agent: 'Which day suits you?', caller: 'Let me see (1200) Tuesday.' },
    { agent: 'Which day suits you?', caller: 'Thursday morning is fine.' },
    { agent: 'Where should it go?', caller: 'To the shop near (900) the big market.' },
    { agent: 'Where should it go?', caller: 'Bring it to my office, second floor.' },
    { agent: 'It costs fifty shillings.', caller: 'Is that for the (700) small one or the big one?' },
    { agent: 'Your order is on its way.', caller: 'Great, and (800) when will it be here?' },
    { agent: 'Your order is on its way.', caller: 'How much do I pay the rider?' },
    { agent: 'Your order is on its way.', caller: 'Thank you so much.' },
    { agent: 'What is your name?', caller: 'My name is (900) Grace Wanjiru.' },
    { agent: 'What happened?', caller: 'The box was open when it came, so (1200) I did not take it.' },
    { agent: 'What happened?', caller: 'It broke on the first day.' },
  ],
  sw: [
    { agent: 'Nikusaidie vipi?', caller: 'Nataka viatu na (900) soksi.' },
    { agent: 'Nikusaidie vipi?', caller: 'Nilikuwa nauliza (850) mzigo wangu umefika wapi?' },
    { agent: 'Nikusaidie vipi?', caller: 'Nililipa jana lakini (1100) sijapata ujumbe.' },
    { agent: 'Nikusaidie vipi?', caller: 'Mnafunga saa ngapi?' },
    { agent: 'Nikusaidie vipi?', caller: 'Habari, naomba (800) kubadilisha siku.' },
    { agent: 'Nikusaidie vipi?', caller: 'Ningependa kujua kama (900) mko na gesi ya kilo sita.' },
    { agent: 'Nikusaidie vipi?', caller: 'Gesi ya kilo sita ni ngapi?' },
    { agent: 'Nikusaidie vipi?', caller: 'Sijapata mzigo wangu. (750) Naomba mnisaidie.' },
    {
      agent: 'Nambari ya simu yako ni ngapi?',
      caller: 'sifuri saba moja mbili (900) tatu nne tano (1000) sita saba nane',
    },
    {
      agent: 'Nambari yako ya simu ni ngapi?',
      caller: 'sifuri moja moja (800) tano sita saba (900) nane tisa sifuri moja',
    },
    { agent: 'Taja tarakimu nne za mwisho.', caller: 'nne (1300) moja mbili saba' },
    { agent: 'Nambari ya oda ni ngapi?', caller: 'sita (850) tatu sifuri (850) mbili' },
    { agent: 'Ni sawa?', caller: 'Ndiyo.' },
    { agent: 'Nitume ombi kwa simu hii?', caller: 'Eeh, tuma.' },
    { agent: 'Nitume ombi kwa simu hii?', caller: 'Sawa, lakini (900) si leo.' },
    { agent: 'Sita, tatu, sifuri, mbili?', caller: 'Hapana, (650) mwisho ni saba.' },
    { agent: 'Iwe lini?', caller: 'Ijumaa, saa (700) nane mchana.' },
    { agent: 'Iwe lini?', caller: 'Yaani (1000) kesho kutwa.' },
    { agent: 'Iwe lini?', caller: 'Kesho asubuhi.' },
    { agent: 'Ulete wapi?', caller: 'Karibu na (900) soko kuu.' },
    { agent: 'Jina lako ni nani?', caller: 'Jina langu ni (900) Wanjiru.' },
    { agent: 'Mzigo uko njiani.', caller: 'Sawa, na (800) utafika saa ngapi?' },
    { agent: 'Mzigo uko njiani.', caller: 'Asante sana.' },
    { agent: 'Kulikuwa na shida gani?', caller: 'Sikupokea kwa sababu (1200) sanduku lilikuwa wazi.' },
    { agent: 'Kulikuwa na shida gani?', caller: 'Rangi si ile niliyoagiza.' },
  ],
  mixed: [
    { agent: 'Nikusaidie vipi?', caller: 'Nataka kureschedule delivery ya (900) kesho.' },
    { agent: 'How can I help you?', caller: 'Hi, nilikuwa nauliza (850) order yangu iko wapi?' },
    { agent: 'How can I help you?', caller: 'I paid but (1000) sijapata message.' },
    { agent: 'How can I help you?', caller: 'Naomba price ya blender.' },
    { agent: 'What is your phone number?', caller: 'zero seven (700) moja mbili tatu (900) four five six saba nane' },
    { agent: 'Tell me the last four digits.', caller: 'four moja (1200) two saba' },
    { agent: 'Is that okay?', caller: 'Sawa sawa.' },
    { agent: 'Shall I send it today?', caller: 'Ndio, but (900) after lunch.' },
    { agent: 'Which day?', caller: 'Kesho, so that (900) my sister can pick it.' },
    { agent: 'Which day?', caller: 'Friday asubuhi.' },
    { agent: 'Ni ya rangi gani?', caller: 'Ile ya blue, au (1000) black kama iko.' },
    { agent: 'Ni ya rangi gani?', caller: 'Yaani um (900) the red one.' },
    { agent: 'Your order is on its way.', caller: 'Na rider atapiga simu lini?' },
    { agent: 'Your order is on its way.', caller: 'Poa, thanks.' },
    { agent: 'What happened?', caller: 'They brought the wrong size, halafu (1100) the rider left.' },
  ],
}
