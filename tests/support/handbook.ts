// A small corpus in English and Portuguese with questions about it, for retrieval and quoting: direct ones,
// paraphrases that keep the main words, and questions that nothing here answers.

import type { TestDocument } from "./passages.ts";

export const HANDBOOK: TestDocument[] = [
  {
    title: "Vacation policy",
    language: "en",
    passages: [
      "Full-time employees are entitled to 25 days of paid vacation per calendar year. Part-time employees receive vacation in proportion to their weekly hours.\n\nVacation requests must be submitted in the portal at least two weeks before the first day of absence. Your manager answers within three working days.",
      "Up to five unused vacation days may be carried over to the next year. Days that were carried over expire on 31 March. Unused vacation is paid out only when the employment ends.",
    ],
  },
  {
    title: "Sick leave",
    language: "en",
    passages: [
      "If you are ill, call your manager before nine in the morning. A doctor's certificate is required from the fourth day of illness on.\n\nDuring the first six weeks of illness the company continues to pay your full salary. After that the health insurance pays sickness benefit.",
    ],
  },
  {
    title: "Travel expenses",
    language: "en",
    passages: [
      "Business trips are booked through the travel desk. Flights of less than six hours are booked in economy class. Hotel costs are reimbursed up to 140 euros per night.",
      "Receipts must be uploaded within 30 days after the trip. Expense reports are paid with the next salary. A daily allowance of 28 euros covers meals; alcohol is never reimbursed.",
    ],
  },
  {
    title: "IT security",
    language: "en",
    passages: [
      "Passwords must have at least 14 characters and may not be reused. Two-factor authentication is mandatory for all accounts.\n\nA lost laptop must be reported to security@acme.example within one hour. Never leave a device unlocked.",
      "Software may be installed only from the company store. Private USB sticks are forbidden. Phishing mails are forwarded to phishing@acme.example and then deleted.",
    ],
  },
  {
    title: "Office and building",
    language: "en",
    passages: [
      "The office is open from 7:00 to 20:00 on weekdays. On weekends the building can be entered only with a special badge, which the reception hands out.",
      "The cafeteria serves lunch between 11:30 and 14:00. Visitors register at the reception and wear a badge. Bicycles are parked in the basement, entrance B.",
    ],
  },
  {
    title: "Returns and refunds",
    language: "en",
    passages: [
      "Customers may return any product within 30 days of delivery. The product must be unused and in its original packaging. The refund is made to the original payment method within five business days.",
      "Shipping costs are not refunded unless the product was damaged. Damaged goods must be reported within 48 hours with a photo. The service line is +49 30 555 0199.",
    ],
  },
  {
    title: "Price list 2026",
    language: "en",
    passages: [
      "Code: PX-1001; Product: Garden pump Aqua 300; Price: 129.00 EUR",
      "Code: PX-1002; Product: Garden pump Aqua 500; Price: 179.00 EUR",
      "Code: PX-2047; Product: Hose reel Flex 20 m; Price: 59.90 EUR",
      "Code: ZB-7781; Product: Rain barrel 200 l; Price: 89.00 EUR",
    ],
  },
  {
    title: "Política de férias",
    language: "pt",
    passages: [
      "Todo colaborador tem direito a 30 dias de férias após doze meses de trabalho. As férias podem ser divididas em até três períodos, e um deles deve ter pelo menos 14 dias.\n\nO pedido de férias deve ser feito no portal com 45 dias de antecedência.",
      "O pagamento das férias é feito até dois dias antes do início do descanso. O colaborador pode vender até dez dias de férias.",
    ],
  },
  {
    title: "Benefícios",
    language: "pt",
    passages: [
      "O vale-refeição é de R$ 38,00 por dia trabalhado e é creditado no primeiro dia útil do mês. O plano de saúde cobre o colaborador, o cônjuge e os filhos menores de 21 anos.",
      "O auxílio-creche é pago até a criança completar seis anos. Quem trabalha em casa recebe R$ 120,00 por mês para internet e energia.",
    ],
  },
  {
    title: "Reembolso de despesas",
    language: "pt",
    passages: [
      "As despesas de viagem são reembolsadas mediante nota fiscal. O prazo para enviar os comprovantes é de 15 dias após o retorno. Gastos com bebidas alcoólicas não são reembolsados.",
      "O limite de hospedagem é de R$ 450,00 por noite. Corridas de aplicativo precisam do motivo da viagem.",
    ],
  },
  {
    title: "Suporte técnico",
    language: "pt",
    passages: [
      "O suporte atende de segunda a sexta, das 8h às 18h, pelo e-mail suporte@acme.example. Chamados urgentes são respondidos em até duas horas.",
      "Para redefinir a senha, acesse o portal e clique em Esqueci minha senha. A senha deve ter no mínimo doze caracteres.",
    ],
  },
];

export interface AskedQuestion {
  question: string;
  /** What the quote must contain, letter by letter. */
  quote: string;
  title: string;
}

export const ANSWERED: AskedQuestion[] = [
  {
    question: "How many vacation days do full-time employees get?",
    quote: "25 days of paid vacation",
    title: "Vacation policy",
  },
  { question: "How many days of paid vacation per year?", quote: "25 days of paid vacation", title: "Vacation policy" },
  { question: "When do carried over vacation days expire?", quote: "expire on 31 March", title: "Vacation policy" },
  {
    question: "How long before my absence must I submit a vacation request?",
    quote: "at least two weeks before",
    title: "Vacation policy",
  },
  {
    question: "Is unused vacation paid out?",
    quote: "paid out only when the employment ends",
    title: "Vacation policy",
  },
  { question: "When do I need a doctor's certificate?", quote: "from the fourth day of illness", title: "Sick leave" },
  { question: "Who pays the salary during illness?", quote: "continues to pay your full salary", title: "Sick leave" },
  { question: "What is the limit for hotel costs?", quote: "up to 140 euros per night", title: "Travel expenses" },
  { question: "Which class are flights booked in?", quote: "economy class", title: "Travel expenses" },
  {
    question: "By when must receipts be uploaded after a trip?",
    quote: "within 30 days after the trip",
    title: "Travel expenses",
  },
  { question: "How high is the daily allowance for meals?", quote: "28 euros", title: "Travel expenses" },
  { question: "How many characters must a password have?", quote: "at least 14 characters", title: "IT security" },
  { question: "Where do I report a lost laptop?", quote: "security@acme.example", title: "IT security" },
  { question: "Are private USB sticks allowed?", quote: "Private USB sticks are forbidden", title: "IT security" },
  {
    question: "What should I do with phishing mails?",
    quote: "forwarded to phishing@acme.example",
    title: "IT security",
  },
  { question: "When is the office open?", quote: "7:00 to 20:00", title: "Office and building" },
  { question: "When does the cafeteria serve lunch?", quote: "between 11:30 and 14:00", title: "Office and building" },
  { question: "Where can I park my bicycle?", quote: "parked in the basement", title: "Office and building" },
  {
    question: "Within how many days may customers return a product?",
    quote: "within 30 days of delivery",
    title: "Returns and refunds",
  },
  { question: "How are refunds paid?", quote: "original payment method", title: "Returns and refunds" },
  { question: "How do I report damaged goods?", quote: "within 48 hours with a photo", title: "Returns and refunds" },
  { question: "What is the price of PX-2047?", quote: "59.90 EUR", title: "Price list 2026" },
  { question: "price of the rain barrel", quote: "89.00 EUR", title: "Price list 2026" },
  { question: "Quantos dias de férias eu tenho?", quote: "30 dias de férias", title: "Política de férias" },
  { question: "Em quantos períodos posso dividir as férias?", quote: "até três períodos", title: "Política de férias" },
  { question: "Posso vender dias de ferias?", quote: "vender até dez dias", title: "Política de férias" },
  {
    question: "Com quanta antecedência devo fazer o pedido de férias?",
    quote: "45 dias de antecedência",
    title: "Política de férias",
  },
  { question: "Qual é o valor do vale-refeição?", quote: "R$ 38,00 por dia", title: "Benefícios" },
  { question: "O plano de saúde cobre os filhos?", quote: "filhos menores de 21 anos", title: "Benefícios" },
  { question: "Até quando é pago o auxílio-creche?", quote: "até a criança completar seis anos", title: "Benefícios" },
  { question: "Quanto recebe quem trabalha em casa?", quote: "R$ 120,00 por mês", title: "Benefícios" },
  {
    question: "Qual o prazo para enviar comprovantes de viagem?",
    quote: "15 dias após o retorno",
    title: "Reembolso de despesas",
  },
  { question: "Bebidas alcoólicas são reembolsadas?", quote: "não são reembolsados", title: "Reembolso de despesas" },
  { question: "Qual o limite de hospedagem por noite?", quote: "R$ 450,00 por noite", title: "Reembolso de despesas" },
  { question: "Qual é o e-mail do suporte?", quote: "suporte@acme.example", title: "Suporte técnico" },
  { question: "Como redefinir minha senha?", quote: "Esqueci minha senha", title: "Suporte técnico" },
  {
    question: "Em quanto tempo são respondidos os chamados urgentes?",
    quote: "em até duas horas",
    title: "Suporte técnico",
  },
];

/** Fewer of the text's own words, other forms, keywords, a misspelling. */
export const PARAPHRASED: Omit<AskedQuestion, "title">[] = [
  { question: "Do I have to bring a doctor's note when I am sick?", quote: "certificate" },
  { question: "What time does the cafeteria close?", quote: "11:30" },
  { question: "Can I carry over vacation to next year?", quote: "carried over" },
  { question: "how long is the password", quote: "14 characters" },
  { question: "hotel limit", quote: "140 euros" },
  { question: "Can I install software on my own?", quote: "company store" },
  { question: "What's the phone number of the service line?", quote: "+49 30 555 0199" },
  { question: "Is alcohol reimbursed?", quote: "never reimbursed" },
  { question: "Do I get shipping costs back?", quote: "Shipping costs are not refunded" },
  { question: "weekend access to the building", quote: "special badge" },
  { question: "where do visitors register", quote: "reception" },
  { question: "PX-1002", quote: "179.00" },
  { question: "How much is the Aqua 500?", quote: "179.00" },
  { question: "vacaton request", quote: "two weeks" },
  { question: "férias divididas", quote: "três períodos" },
  { question: "valor do vale refeição", quote: "38,00" },
  { question: "horário do suporte", quote: "8h às 18h" },
  { question: "Quanto custa a hospedagem no máximo?", quote: "450,00" },
  { question: "auxilio creche idade", quote: "seis anos" },
  { question: "o plano cobre minha esposa e cônjuge?", quote: "cônjuge" },
  { question: "senha mínimo caracteres", quote: "doze caracteres" },
  { question: "Quando é pago o salário de férias?", quote: "dois dias antes" },
  { question: "Trabalho em casa, recebo ajuda de internet?", quote: "120,00" },
  { question: "meal allowance amount", quote: "28 euros" },
  { question: "who answers vacation requests", quote: "Your manager answers" },
];

export const UNANSWERED: string[] = [
  "What is the capital of France?",
  "Who won the football world cup in 1998?",
  "How do I bake a chocolate cake?",
  "How many days does Mars take to orbit the sun?",
  "Which planet is the largest?",
  "Who painted the Mona Lisa?",
  "What is the boiling point of water?",
  "Recommend a good science fiction movie",
  "How tall is Mount Everest?",
  "Translate good morning into Japanese",
  "Qual é a capital da Argentina?",
  "Quem descobriu o Brasil?",
  "Como fazer um bolo de cenoura?",
  "Qual a distância da Terra até a Lua?",
  "Quem escreveu Dom Casmurro?",
  "Quantos jogadores tem um time de futebol?",
  // About the same things, but not answered.
  "What is the salary of the CEO?",
  "How many days of maternity leave do I get?",
  "Is there a company car?",
  "What is the price of PX-9999?",
  "Who is the head of marketing?",
  "Can I bring my dog to the office?",
  "How do I cancel my gym membership?",
  "What is the wifi password of the guest network?",
  "Qual é o salário do diretor?",
  "Posso levar meu cachorro para o escritório?",
  "Tem estacionamento para carros?",
  "Quantos dias de licença-maternidade?",
  "When was the company founded?",
  "Do you ship to Canada?",
  "what is the meaning of life",
  "Who is the president of Brazil?",
  "Tell me a joke",
  "What's the weather today?",
  "How many employees does the company have?",
  "stock price of the company",
];
