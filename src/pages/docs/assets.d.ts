// Files that the bundler copies: importing one gives its address.
declare module "swagger-ui-dist/swagger-ui-bundle.js" {
  const address: string;
  export default address;
}
