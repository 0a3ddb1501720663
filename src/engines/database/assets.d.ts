// Files that are embedded by import attributes: `type: "file"` gives a path, `type: "text"` the content.

declare module "*.wasm" {
  const path: string;
  export default path;
}

declare module "*.data" {
  const path: string;
  export default path;
}

declare module "*.sql" {
  const text: string;
  export default text;
}
