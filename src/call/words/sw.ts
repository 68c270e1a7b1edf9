import { PHONE_DIGITS, numbered, words } from './language.js'
import type { Language } from './language.js'

/**
 * Numbers that agree with the class of their noun: 1 to 5 and 8. The numbers 6, 7, 9 and 10 never agree. Examples: watu
 * wawili, vifurushi viwili.
 */
export const AGREED_NUMBERS: readonly number[] = [1, 2, 3, 4, 5, 8]
/** Agreement in four noun classes: people, mizigo, maombi and vifurushi. */
export const AGREED = [
  words('mmoja wawili watatu wanne watano wanane'),
  words('mmoja miwili mitatu minne mitano minane'),
  words('moja mawili matatu manne matano manane'),
  words('kimoja viwili vitatu vinne vitano vinane'),
] as const

/** Words of Swahili, with the Sheng that callers mix into it. A `*` matches any letters. */
export const sw: Language = {
  claims: {
    not: words('si sio siyo hapana wala bila bado hakuna hamna siwezi sikuweza hatuwezi hatukuweza'),
    if: words('ikiwa iwapo endapo pindi kabla wakati'),
    asks: words('je kama ungependa unataka nini gani lini wapi nani'),
    joins: words('lakini kwa_hiyo kwa_sababu kisha'),
    breaks: words('ili kwamba ambayo ambaye uta* nita* ata* nge*'),
  },
  numbers: {
    ...numbered('sifuri moja mbili tatu nne tano sita saba nane tisa', 0),
    ...numbered('kumi ishirini thelathini arobaini hamsini sitini sabini themanini tisini', 10, 10),
    ...{ mia: 100, elfu: 1000, laki: 100_000, milioni: 1e6 },
    ...{ sufuri: 0, ziro: 0 },
    ...Object.fromEntries(
      AGREED.flatMap((forms) => AGREED_NUMBERS.map((number, index) => [forms[index] ?? '', number])),
    ),
  },
  leading: ['mia', 'elfu', 'laki', 'milioni'],
  and: 'na',
  andAfterUnits: true,
  repeats: {},
  times: ['mara'],
  corrects: words('hapana sio siyo la samahani ngoja sio_hivyo namaanisha'),
  moneySlang: { soo: 'mia', thao: 'elfu', ngiri: 'elfu', punch: 'mia tano' },
  halfMore: words('na_nusu unusu'),
  months: numbered('januari februari machi aprili mei juni julai agosti septemba oktoba novemba desemba', 1),
  monthNumber: words('mwezi_wa mwezi'),
  dayNumber: words('tarehe tarehe_ya'),
  ordinals: { mosi: 1, kwanza: 1, pili: 2 },
  offered: [],
  weekdays: 'jumapili jumatatu jumanne jumatano alhamisi ijumaa jumamosi'.split(' '),
  shortWeekdays: {},
  through: ['hadi', 'mpaka'],
  daily: ['kilasiku'],
  days: { 'kesho kutwa': 2, leo: 0, kesho: 1, jana: -1, juzi: -2 },
  nextWeek: words('wiki_ijayo'),
  nextMonth: words('mwezi_ujao'),
  next: words('ijayo inayokuja'),
  clock: {
    hour: words('saa'),
    hoursLater: 6,
    minutes: {
      ...{ 'na robo': 15, 'na nusu': 30, unusu: 30, kasorobo: -15, 'kasoro robo': -15, 'na kasorobo': -15 },
      kamili: 0,
    },
    plus: words('na_dakika'),
    minus: words('kasoro_dakika kasoro'),
    before: {},
    past: [],
    to: [],
    from: words('kuanzia kutoka toka tangu kati_ya baina_ya'),
    named: {},
    parts: {
      alfajiri: [3, 7],
      asubuhi: [6, 12],
      mchana: [12, 17],
      alasiri: [13, 18],
      jioni: [15, 20],
      usiku: [18, 30],
    },
  },
  money: ['shilingi'],
  cents: ['senti'],
  percent: ['asilimia'],
  parts: ['nukta', 'nusu', 'robo', 'senti'],
  about: ['kama', 'karibu', 'takriban', 'takribani', 'zaidi', 'chini'],
  articles: ['ya'],
  is: ['ni'],
  lists: ['na', 'au', 'ama'],
  joins: words(
    'na lakini ila au ama halafu alafu kisha ili kama ikiwa kwamba kuwa juu kwa katika kwenye hadi mpaka ya wa la ' +
      'cha za vya pa ni kutoka kuhusu baada kabla bila sababu ambayo ambaye ambao mara_mbili karibu_na',
  ),
  hesitations: words('aa aah em eem yaani hebu nini_hii ngoja_nione hebu_nione hebu_nifikirie ngoja_nikumbuke unajua'),
  stems: words(
    'nataka nilitaka naomba ningependa nahitaji nilikuwa nilikua nilikuwa_nauliza nilikua_nauliza nauliza naulizia ' +
      'nilikuwa_nataka nilikuwa_nataka_kujua nataka_kujua naomba_kujua jina_langu naitwa nina nipe niambie nataka_ku ' +
      'unaweza',
  ),
  yes: words(
    'ndiyo ndio naam sawa haswa kabisa ni_kweli kweli hivyo_hivyo sahihi eeh ee eh poa fiti iko_sawa ni_hivyo ' +
      'sawa_sawa ehe haya ni_sawa tuma',
  ),
  no: words('hapana la sio siyo si_hivyo sio_hivyo hakuna bado zii aii apana hamna sitaki sina'),
  noObjection: words('hakuna_shida hamna_shida hapana_shida hakuna_matata'),
  besideYesNo: words('asante tafadhali bwana mama bana basi tu ni hiyo'),
  human: words(
    'mtu mhudumu meneja msimamizi mfanyakazi wakala binadamu mwenzako niunganishe nipe_mtu niunganishie mtu_wa_kuongea_naye',
  ),
  besideHuman: words(
    'nataka naomba ningependa kuongea kuzungumza kusema na tafadhali kwa wa wenu halisi huduma customer_care nipigie ' +
      'unaweza kuniunganisha tu basi mwingine',
  ),
  slower: words('polepole ongea_polepole sema_polepole pole_pole taratibu ongea_taratibu punguza_kasi unaongea_haraka'),
  questionEnds: words('ngapi wapi lini gani nani vipi aje sivyo si_ndio sindio'),
  questionWords: words(
    'nini gani wapi lini ngapi nani vipi aje kwanini mbona ipi yupi zipi au ama kwa_nini naomba niambie nieleze ' +
      'unaweza_kunipa unaweza_kuniambia iwe_lini',
  ),
  requests: words('nipe niambie taja soma sema naomba weka yako'),
  numbersAsked: {
    'nambari ya simu': PHONE_DIGITS,
    'namba ya simu': PHONE_DIGITS,
    'nambari yako ya simu': PHONE_DIGITS,
    'namba yako ya simu': PHONE_DIGITS,
    'tarakimu mbili': [2],
    'tarakimu tatu': [3],
    'tarakimu nne': [4],
    'tarakimu sita': [6],
    nambari: [],
    namba: [],
    tarakimu: [],
  },
  polite: ['tafadhali'],
  keying: words('bonyeza ingiza andika keypad'),
  secrets: words('pin pini siri nywila otp'),
  numberNouns: ['namba', 'nambari', 'tarehe', 'mwaka'],
  listening: words('sawa sawa_sawa sawa_asante ndio ndiyo haya eeh ee eh ehe naam poa kweli'),
  wait: words(
    'subiri subiri_kidogo ngoja ngoja_kidogo ngoja_kwanza dakika_moja sekunde_moja nisubiri ningoje nipe_dakika ' +
      'subiri_dakika chill ngoja_nione ngoja_niangalie hebu_ngoja hebu_subiri',
  ),
  cancel: words(
    'ghairi ghairi_ombi ghairi_malipo futa futa_ombi sitisha sitisha_malipo usisubiri acha_kusubiri achana_nayo ' +
      'acha_tu wacha_tu nighairishie sitaki_tena kancel',
  ),
  stop: words('simama acha wacha acha_kwanza nisikilize sikiliza nyamaza basi_basi samahani_kidogo'),
  besideWait: words('tafadhali kidogo kwanza hapo sawa basi hapana bana hebu tu'),
  again: words(
    'rudia halo haloo ati nini? unasema unasemaje umesema_nini ulisema_nini hurudia tena? sema_tena sikusikia ' +
      'sijasikia sikuskia samahani? uko_hapo upo',
  ),
  smallTalk: words(
    'habari habari_yako habari_za_asubuhi hujambo sijambo mambo mambo_vipi salama nzuri poa shikamoo asante ' +
      'asante_sana shukran kwaheri niaje sasa za_leo karibu',
  ),
  oneMoment: words(
    'naangalia ngoja_niangalie hebu_niangalie niangalie subiri_kidogo ngoja_kidogo dakika_moja nipe_dakika nakagua ' +
      'nacheki wacha_niangalie acha_niangalie kidogo_tu',
  ),
  ends: words(
    'kwaheri hayo_tu hiyo_tu hilo_tu hicho_tu hakuna_kingine hakuna_lingine hakuna_mengine sina_kingine sina_lingine ' +
      'kwa_heri baadaye tutaonana siku_njema usiku_mwema',
  ),
  besideEnds: words(
    'sawa poa haya hapana la ni basi kwa_sasa kwa_leo ndiyo ndio eeh na_wewe_pia nawe_pia na tu bwana mama',
  ),
  thanks: words('asante asante_sana ahsante ahsante_sana asanteni nashukuru shukran shukrani'),
  acknowledges: words('sawa sawa_sawa poa haya fiti vizuri iko_sawa ni_sawa basi'),
  notUnderstood: words(
    'sikusikia sijasikia sikukusikia sijakusikia sikuelewa sijaelewa sikukuelewa sijakuelewa sielewi urudie rudia_tena ' +
      'tafadhali_rudia sema_tena',
  ),
  farewells: words('kwaheri kwa_heri tutaonana siku_njema'),
  common: words(
    'ni ya wa za la cha vya kwa na je hii hiyo hilo huyo yangu wangu langu zangu yako wako lako yake wake gani wapi lini ' +
      'nani ngapi vipi nataka naomba nina niko una uko mna kuna hakuna naitwa jina langu nipe niambie ningependa ' +
      'nilikuwa unaweza naweza umefika imefika limefika iko liko kesho leo jana sasa saa asubuhi jioni mchana usiku ' +
      'tafadhali habari hujambo samahani ndiyo hapana sijui nimeweka lakini halafu kwamba kama sana bado tu bei pesa ' +
      'mzigo agizo viatu kulipa kuongea mtu simu namba nambari moja mbili tatu nne tano sita saba nane tisa kumi ' +
      'ishirini iwe kiswahili asante kidogo yenu wenu zenu lenu chenu yetu wetu zetu yao wao yule huyu hawa hizi hizo ' +
      'hapa hapo huku leta letwa tuma nitumie mnafungua mnafunga lipi ipi yupi bila baada kabla tena pia hata kila ' +
      'wiki mwezi mwaka siku juzi jumatatu jumanne jumatano alhamisi ijumaa jumamosi jumapili shida tatizo deni salio ' +
      'akaunti mtandao intaneti fundi kazi mara mpaka mhudumu duka letu kitambulisho tarehe mosi pili kumi ngoja subiri',
  ),
  // Forms: subject, tense and verb in -a; negative subject and verb in -i, or in -a after ku or ja; infinitive; "for
  // me".
  form: /^(?:(?:ni|u|a|tu|m|mu|wa|i|li|ya|ki|vi|zi|hu|pa|ku)(?:na|li|ta|me|nge)\p{L}{2,}a|(?:ha(?:i|u|li|ya|ki|vi|zi|tu|m|wa)?|si)(?:\p{L}{3,}i|(?:ku|ja)\p{L}{2,}a)|ku\p{L}{2,}a|ni\p{L}{2,}ie)$/u,
  borrowed: words('america amelia imelda safari karibu sawa poa matatu boda duka shamba jambo pole mpesa pesa'),
  oftenNoise: words('asante sawa'),
  stageDirections: words(
    'anacheka akicheka kicheko anatabasamu akitabasamu tabasamu anapumua anahema kimya ananyamaza anasita anakohoa kikohozi ' +
      "ananong’ona ananong'ona anaguna anaandika kwa_upole kwa_furaha kwa_huruma muziki",
  ),
}
