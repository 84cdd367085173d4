// Starts Swagger UI on the OpenAPI document. URLs are relative: a proxy may serve the page below a path prefix.

SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null, // no request to another host
});
