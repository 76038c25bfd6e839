// The API's description, drawn by Swagger UI from openapi.json.
window.SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null, // it would ask another host
  defaultModelsExpandDepth: 0,
});
