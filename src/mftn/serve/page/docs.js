// The API description, rendered by Swagger UI from openapi.json.
window.SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null, // it would contact another host
  defaultModelsExpandDepth: 0,
});
