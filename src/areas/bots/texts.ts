// What a bot says where nobody has written a text for it: English, Portuguese and Spanish. Pure.

/** Languages with built-in texts; every other one falls back to English. */
export type TextLanguage = "en" | "pt" | "es";

export interface BuiltInTexts {
  /** Greeting of a bot that knows something. */
  greeting(title: string): string;
  /** Greeting of a bot without any knowledge and without a model. */
  emptyGreeting(title: string): string;
  error: string;
  noAnswer: string;
  /** The visible line above a quoted answer that stands in for the model's. */
  modelUnreachable: string;
  page: string;
  slide: string;
  sheet: string;
  row: string;
  line: string;
}

const TEXTS: Record<TextLanguage, BuiltInTexts> = {
  en: {
    greeting: (title) => `Hello! I am ${title}. Ask me something, and I will look it up in what I know.`,
    emptyGreeting: (title) => `Hello! I am ${title}. Nobody has given me documents to read yet, so I know little.`,
    error: "Something went wrong on my side. Please try again in a moment.",
    noAnswer: "I found nothing about that in what I know.",
    modelUnreachable: "The language model cannot be reached at the moment. This is quoted from the knowledge base:",
    page: "page",
    slide: "slide",
    sheet: "sheet",
    row: "row",
    line: "line",
  },
  pt: {
    greeting: (title) => `Olá! Eu sou ${title}. Pergunte, e eu procuro no que sei.`,
    emptyGreeting: (title) => `Olá! Eu sou ${title}. Ainda não recebi documentos para ler, por isso sei pouco.`,
    error: "Algo deu errado do meu lado. Tente de novo em instantes.",
    noAnswer: "Não encontrei nada sobre isso no que sei.",
    modelUnreachable: "O modelo de linguagem não está acessível no momento. Isto foi citado da base de conhecimento:",
    page: "página",
    slide: "slide",
    sheet: "planilha",
    row: "linha",
    line: "linha",
  },
  es: {
    greeting: (title) => `¡Hola! Soy ${title}. Pregunta, y lo busco en lo que sé.`,
    emptyGreeting: (title) => `¡Hola! Soy ${title}. Todavía no me han dado documentos para leer, así que sé poco.`,
    error: "Algo ha fallado por mi parte. Inténtalo de nuevo en un momento.",
    noAnswer: "No he encontrado nada sobre eso en lo que sé.",
    modelUnreachable:
      "El modelo de lenguaje no está disponible en este momento. Esto está citado de la base de conocimiento:",
    page: "página",
    slide: "diapositiva",
    sheet: "hoja",
    row: "fila",
    line: "línea",
  },
};

/** The built-in texts for a language tag; its region does not matter, and an unknown language gives English. */
export function textsFor(language: string | null): BuiltInTexts {
  const primary = (language ?? "en").toLowerCase().split("-")[0] ?? "en";
  return TEXTS[primary as TextLanguage] ?? TEXTS.en;
}
